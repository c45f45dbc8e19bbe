"""A secret is found in every spelling, nothing else is touched, and no text takes long."""

from __future__ import annotations

import base64
import html
import json
import string
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stb_core.telemetry import secrets
from stb_core.telemetry.secrets import MASK, SecretMask, mask_of

SPELLINGS: dict[str, Callable[[str], str]] = {
    "itself": lambda c: c,
    "json": lambda c: json.dumps(c)[1:-1],
    "json units": lambda c: "".join(f"\\u{unit}" for unit in secrets._units(c)),
    "json units, large": lambda c: "".join(f"\\u{unit.upper()}" for unit in secrets._units(c)),
    "json twice": lambda c: json.dumps("".join(f"\\u{unit}" for unit in secrets._units(c)))[1:-1],
    "json three times": lambda c: (
        json.dumps(json.dumps(f"\\u{secrets._units(c)[0]}")[1:-1])[1:-1] if len(secrets._units(c)) == 1 else c
    ),
    "slash": lambda c: "\\/" if c == "/" else c,
    "percent": lambda c: quote(c, safe=""),
    "percent of all": lambda c: "".join(f"%{byte:02X}" for byte in c.encode()),
    "percent, small": lambda c: "".join(f"%{byte:02x}" for byte in c.encode()),
    "percent twice": lambda c: "".join(f"%25{byte:02X}" for byte in c.encode()),
    "form": quote_plus,
    "percent of json": lambda c: "".join(f"%5Cu{unit}" for unit in secrets._units(c)),
    "html": html.escape,
    "html number": lambda c: f"&#{ord(c)};",
    "html hex": lambda c: f"&#x{ord(c):X};",
    "html twice": lambda c: f"&amp;#{ord(c)};",
}
# Characters that an HTTP header can carry, and some beyond. Those that begin an escape are left out: where a
# key holds them, two spellings may look alike.
CHARACTERS = st.sampled_from(string.ascii_letters + string.digits + "-_./+=:~!@#$^*()[]{}<>\"',;? äß€😀")
KEYS = st.text(CHARACTERS, min_size=secrets.SHORTEST, max_size=40)


@st.composite
def spelled_keys(draw: st.DrawFn) -> tuple[str, str]:
    """A key, and the same with each character in a spelling of its own."""
    key = draw(KEYS)
    ways = draw(st.lists(st.sampled_from(sorted(SPELLINGS)), min_size=len(key), max_size=len(key)))
    return key, "".join(SPELLINGS[way](char) for way, char in zip(ways, key, strict=True))


@given(
    spelled_keys(),
    st.sampled_from(["", "x", " ", '"', "{", "5", "=", "\n", ":"]),
    st.sampled_from(["", "&", '"', " "]),
)
@example(("SECRETKEY-1234", "SECRET\\u004bEY-1234"), '"', '"')
@example(("SECRETKEY-1234", "SECRETKEY%2D1234"), "?k=", "&")
@example(("ab/cd/1234", "ab\\/cd%2f1234"), "", "")
def test_no_spelling_is_let_through(spelled: tuple[str, str], before: str, after: str) -> None:
    """Each character in any spelling, whatever stands around it; what stands there stays."""
    key, text = spelled

    masked = SecretMask([key]).text(f"{before}{text}{after}")

    assert f"{before}{MASK}{after}" == masked


@given(
    KEYS.filter(lambda key: '"' not in key),
    st.lists(st.sampled_from(sorted(SPELLINGS)), min_size=1, max_size=3),
)
def test_what_is_decoded_later_holds_no_secret(key: str, ways: list[str]) -> None:
    """A document stays one, and no decoding of its strings brings the key back."""
    said = "".join(SPELLINGS[ways[index % len(ways)]](char) for index, char in enumerate(key))
    document = {"echo": f"key {said}!", said: [said, 1.50, {"deep": json.dumps({"k": key})}]}
    for body in (
        json.dumps(document),
        json.dumps(document, ensure_ascii=False),
        json.dumps(json.dumps(document)),
    ):
        masked = mask_of(key).json(body)

        value = json.loads(masked)
        text = json.dumps(json.loads(value) if isinstance(value, str) else value, ensure_ascii=False)
        assert key not in text
        assert MASK in text


@given(KEYS, st.text(max_size=12), st.text(max_size=12))
def test_base64_of_it_is_masked(key: str, before: str, after: str) -> None:
    """Alone, or within a longer text that was encoded, as user and password are."""
    raw = f"{before}{key}{after}".encode(errors="replace")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(raw).decode()

        masked = SecretMask([key]).text(f"Basic {encoded}")

        removed = len(f"Basic {encoded}") - (len(masked) - len(MASK))
        assert MASK in masked
        assert removed >= len(key.encode()) * 8 // 6 - 1


def test_a_header_is_taken_apart() -> None:
    """What is secret in it is masked without the word before it, and what base64 stands for."""
    pair = base64.b64encode(b"user-name:pass-word-1").decode()
    said = [f"is {pair}", "is user-name:pass-word-1", "is pass-word-1", "user-name"]

    assert ["is ***", "is ***", "is ***", "user-name"] == [
        mask_of(f"Basic {pair}").text(text) for text in said
    ]
    assert "is ***" == mask_of("Bearer abcdefgh12").text("is abcdefgh12")


@given(st.text(), KEYS)
def test_other_texts_stay(text: str, key: str) -> None:
    """A text in which no spelling of the key can be is the same object's equal."""
    without = "".join(char for char in text if char not in "%&\\+" + key)

    assert without == SecretMask([key]).json(without)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_json_of_others_stays(value: object) -> None:
    """Escapes and digits of a document without the secret come back byte for byte."""
    body = json.dumps(value).encode()

    assert body == mask_of("S3CRET-key-0123456789").body(body)


@pytest.mark.parametrize(
    ("secret", "body", "masked"),
    [
        ("nabcdefgh", r'{"a": "x\nabcdefgh"}', r'{"a":"x\nabcdefgh"}'),
        ("12345678", '{"id": 12345678, "n": 1.50}', '{"id":"***","n":1.5}'),
        ("ends-with\\", r'{"a": "ends-with\\\"b"}', '{"a":"***\\"b"}'),
        ("short", '"a short text"', '"a short text"'),
        ("", '"text"', '"text"'),
    ],
)
def test_a_document_stays_a_document(secret: str, body: str, masked: str) -> None:
    """Where the mask would break the JSON, its values are masked in its place; a placeholder is no secret."""
    assert masked == mask_of(secret).json(body)


def test_bytes_that_are_no_text_are_searched_too() -> None:
    """What is not UTF-8 stays as it is around the secret."""
    assert b"\xff\xfe ***\x80" == mask_of("S3CRET-key").body(b"\xff\xfe S3CRET-key\x80")


@pytest.mark.parametrize(
    "piece", ["\\", "\\u", "%5c", "%25", "&amp;", "&#0", "S\\u0033", "\\\\u0053", "%", "U0VD", "SECRET"]
)
def test_no_text_takes_long(piece: str) -> None:
    """A megabyte of what begins a spelling is searched once, not once for every character of it."""
    text = piece * (1_000_000 // len(piece))

    assert len(text) == len(SecretMask(["S3CRET-key-0123456789"]).text(text))
