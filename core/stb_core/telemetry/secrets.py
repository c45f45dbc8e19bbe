r"""Finds secrets in texts of others, however they are spelled, and masks them: the one place that does so.

A key that is echoed may come back as JSON, URLs and HTML write it (``\u0041``, ``\/``, ``%41``, ``&#65;``), each
several times over, in a mix of these, or in base64. A text is searched as it is, without decoding it: whoever
decodes it later gets no secret, and every other byte stays as it was.

Most texts hold no secret. They are searched for it as it is and for the signs that begin another spelling,
which takes a few microseconds for a kilobyte.
"""

from __future__ import annotations

import base64
import json
import re
from binascii import Error as Base64Error
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from stb_core import json_text

MASK = "***"
SHORTEST = 8
"""A secret of fewer characters is taken for a placeholder and left as it is."""
LONGEST = 512
"""Of a longer secret so many characters are searched for in other spellings."""
_SCHEME = re.compile(r"(?:basic|bearer|token|key|apikey)\s+(\S+)", re.IGNORECASE)
_BACKSLASHES = r"(?:\\{1,32}|(?:%(?:25){0,4}5[cC]){1,8})"
# At the start of a match a run of backslashes is tried once, at its beginning, so that no text takes long.
_FIRST_BACKSLASHES = r"(?:(?<!\\)\\++|(?:%(?:25){0,4}5[cC]){1,8})"
_PERCENT = r"(?:%|\\{1,32}u0025)(?:25){0,4}"
_ENTITY = r"&(?:amp;){0,4}"
_NAMED = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}


class SecretMask:
    """Masks some secrets, and what they become in base64."""

    def __init__(self, secrets: Iterable[str]) -> None:
        plain = {part for secret in secrets for part in _parts(secret)}
        encoded = {form for secret in plain for form in _in_base64(secret)} - plain
        self._literal = [*sorted(plain, key=len, reverse=True), *sorted(encoded, key=len, reverse=True)]
        self._literal_bytes = [secret.encode() for secret in self._literal]
        self._patterns = [(_in_any_spelling, secret[:LONGEST]) for secret in self._literal[: len(plain)]]
        self._patterns += [(_with_signs_spelled, secret[:LONGEST]) for secret in self._literal[len(plain) :]]
        self._letters = "".join(sorted(set("".join(secret for _, secret in self._patterns))))
        self._signs = _signs(self._letters) if plain else []
        self._signs_bytes = [sign.encode() for sign in self._signs]

    def text(self, text: str) -> str:
        """The text without the secrets."""
        for secret in self._literal:
            if secret in text:
                text = text.replace(secret, MASK)
        if any(sign in text for sign in self._signs) and _may_be_spelled(self._letters).search(text):
            for pattern, secret in self._patterns:
                text = pattern(secret).sub(MASK, text)
        return text

    def json(self, text: str) -> str:
        """As ``text``; what was JSON stays JSON, and keeps its digits and its order."""
        masked = self.text(text)
        if masked == text or not _is_json(text) or _is_json(masked):
            return masked
        return json_text.encode(self.value(json_text.parse_leniently(text.encode()))).decode()

    def body(self, body: bytes) -> bytes:
        """As ``json``, for bytes; those that are not UTF-8 stay as they are around a secret."""
        if not any(part in body for part in (*self._literal_bytes, *self._signs_bytes)):
            return body
        text = body.decode(errors="surrogateescape")
        return self.json(text).encode(errors="surrogateescape")

    def value(self, value: Any) -> Any:
        """A decoded JSON value without the secrets, in names and numbers as well."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(name): self.value(member) for name, member in value.items()}
        if isinstance(value, list):
            return [self.value(member) for member in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value if (text := str(value)) == self.text(text) else MASK
        return value


_known: set[str] = set()


def remember_secrets(*secrets: str) -> None:
    """Keep secrets of this process out of its logs and of error texts, whatever brings them there."""
    _known.update(secret for secret in secrets if secret)


def mask_known(text: str) -> str:
    """A text without the secrets that this process remembers."""
    return mask_of(*sorted(_known)).text(text) if _known else text


@lru_cache(maxsize=256)
def mask_of(*secrets: str) -> SecretMask:
    """The mask of these secrets, made once; empty ones are none."""
    return SecretMask(secrets)


def _parts(secret: str) -> Iterable[str]:
    """A secret, or what is secret in a header: ``Bearer X`` is X, ``Basic X`` also what X stands for."""
    scheme = _SCHEME.fullmatch(secret.strip())
    inner = scheme[1] if scheme else secret
    parts = [inner]
    if scheme and secret.lower().lstrip().startswith("basic"):
        try:
            pair = base64.b64decode(inner, validate=True).decode()
        except (Base64Error, ValueError):
            pair = ""
        parts += [pair, pair.partition(":")[2]]
    return (part for part in parts if len(part) >= SHORTEST)


def _in_base64(secret: str) -> Iterable[str]:
    """What the secret becomes in base64, wherever it stands in the text that was encoded."""
    raw = secret.encode()
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + raw).decode()
        # The characters at both ends also hold bits of what stands before and after.
        core = encoded[(0, 2, 3)[offset] : (offset + len(raw)) * 8 // 6]
        yield core
        yield core.translate(str.maketrans("+/", "-_"))


def _signs(letters: str) -> list[str]:
    """What begins another spelling of one of these characters."""
    signs = ["\\u", "\\x", "%", "&"]
    signs += [f"\\{char}" for char in '"/\\' if char in letters]
    return [*signs, "+"] if " " in letters else signs


@lru_cache(maxsize=256)
def _may_be_spelled(letters: str) -> re.Pattern[str]:
    """Finds one of these characters where it is not written as itself."""
    codes = "|".join(sorted({f"{byte:02x}" for byte in letters.encode()}))
    units = "|".join(sorted({unit for char in letters for unit in _units(char)}))
    signs = [rf"\\u(?i:{units})", rf"\\x(?i:{codes})", rf"%(?:25){{0,4}}(?i:{codes})", rf"{_ENTITY}#"]
    signs += [re.escape(f"\\{char}") for char in '"/\\' if char in letters]
    signs += [f"{_ENTITY}{name};" for char, name in _NAMED.items() if char in letters]
    signs += [r"\+"] if " " in letters else []
    return re.compile("|".join(signs))


@lru_cache(maxsize=256)
def _in_any_spelling(secret: str) -> re.Pattern[str]:
    """Finds the secret, each character of it in any spelling."""
    pieces = [f"(?:{re.escape(secret[0])}|{_others(secret[0], _FIRST_BACKSLASHES)})"]
    pieces += [f"(?:{re.escape(char)}|{_others(char, _BACKSLASHES)})" for char in secret[1:]]
    return re.compile("".join(pieces))


@lru_cache(maxsize=1024)
def _with_signs_spelled(secret: str) -> re.Pattern[str]:
    """Finds the secret with letters and digits as they are, for base64: nobody writes those otherwise."""
    return re.compile(
        "".join(
            char if char.isalnum() else f"(?:{re.escape(char)}|{_others(char, _BACKSLASHES)})"
            for char in secret
        )
    )


def _others(char: str, backslashes: str) -> str:
    """The ways to write a character, other than as itself."""
    raw = char.encode()
    forms = [
        "".join(rf"{backslashes}u(?i:{unit})" for unit in _units(char)),
        "".join(rf"{_PERCENT}(?i:{byte:02x})" for byte in raw),
        rf"{_ENTITY}#(?:0{{0,6}}{ord(char)}|(?i:x0{{0,6}}{ord(char):x}));",
    ]
    if len(raw) == 1:
        forms.append(rf"{backslashes}x(?i:{raw[0]:02x})")
    if char in '"/\\':
        forms.append(backslashes + re.escape(char))
    if char in _NAMED:
        forms.append(f"{_ENTITY}{_NAMED[char]};")
    if char == " ":
        forms.append(r"\+")
    return "|".join(forms)


def _units(char: str) -> list[str]:
    """The code units of a character in JSON's escapes: four hexadecimal digits each."""
    raw = char.encode("utf-16-be", errors="surrogatepass")
    return [raw[at : at + 2].hex() for at in range(0, len(raw), 2)]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
