"""Calls that differ slightly from a recorded call and must not get its recording; and twins, which must.

A twin is the same call with its JSON written differently. Every other call here differs in a value, a type or a
name, however little, and an API may well answer it differently.
"""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Arguments = dict[str, Any]

# Letters of other alphabets that look like Latin ones.
_LOOK_ALIKE = str.maketrans("aceiopxyABCEHIKMOPTX0123", "асеіорхуАВСЕНІКМОРТХ０１２３")  # noqa: RUF001
_NO_BREAK_SPACE, _ZERO_WIDTH_SPACE = "\u00a0", "\u200b"


def _other_type(value: Any) -> Iterator[Any]:
    if isinstance(value, bool):
        yield from (str(value), str(value).lower(), int(value))
    elif isinstance(value, int | float):
        yield from (str(value), [value])
    elif isinstance(value, str):
        yield from ([value], {"value": value})
        if value.lower() in {"true", "false"}:
            yield value.lower() == "true"
        if value.lstrip("-").isdecimal() and value.isascii():
            yield int(value)
        if not value:
            yield None
    elif value is None:
        yield from ("", "null", "None", 0, False)


def _other_value(value: Any) -> Iterator[Any]:
    if isinstance(value, str):
        yield from (f"{value}x", f"{value}0", value[:-1], value[::-1])
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from (value + 1, -value, value * 10)
    elif isinstance(value, bool):
        yield not value


def _other_case(value: Any) -> Iterator[Any]:
    if isinstance(value, str):
        yield from (value.swapcase(), value.upper(), value.lower())


def _other_space(value: Any) -> Iterator[Any]:
    if isinstance(value, str):
        yield from (f" {value}", f"{value} ", f"{value}\n", f"{value}\t", value.replace(" ", "  "))
        yield from (
            value.replace(" ", _NO_BREAK_SPACE),
            f"{value}{_ZERO_WIDTH_SPACE}",
            value.replace(" ", ""),
        )


def _look_alike(value: Any) -> Iterator[Any]:
    if isinstance(value, str):
        yield value.translate(_LOOK_ALIKE)
        yield from (unicodedata.normalize(form, value) for form in ("NFD", "NFKC", "NFC"))


_VALUES: Mapping[str, Callable[[Any], Iterator[Any]]] = {
    "type": _other_type,
    "value": _other_value,
    "case of a value": _other_case,
    "white space in a value": _other_space,
    "look-alike letters in a value": _look_alike,
}


def _other_names(name: str) -> dict[str, list[str]]:
    return {
        "name": [f"{name}_", f"{name} ", f"_{name}", f"is_{name}", name[:-1]],
        "case of a name": [name.swapcase(), name.upper(), name.title()],
        "look-alike letters in a name": [name.translate(_LOOK_ALIKE)],
    }


KINDS = (
    *_VALUES,
    *("name", "case of a name", "look-alike letters in a name"),
    *("argument left out", "argument added"),
)
TWINS = ("other order", "white space in JSON", "escapes in JSON")


def near_calls(arguments: Arguments, rng: random.Random) -> Iterator[tuple[str, Arguments]]:
    """One changed call per kind of change that the arguments allow, at an argument drawn by ``rng``."""
    names = list(arguments)
    for kind, change in _VALUES.items():
        changed = [
            (n, new) for n in names for new in change(arguments[n]) if not same_json(new, arguments[n])
        ]
        if changed:
            name, value = rng.choice(changed)
            yield kind, {**arguments, name: value}
    if names:
        name = rng.choice(names)
        for kind, others in _other_names(name).items():
            if different := [other for other in others if other and other not in arguments]:
                other = rng.choice(different)
                yield kind, {other if n == name else n: value for n, value in arguments.items()}
        yield "argument left out", {n: value for n, value in arguments.items() if n != name}
    added = rng.choice([n for n in ("page", "limit", "x") if n not in arguments])
    yield "argument added", {**arguments, added: rng.choice(["", None, 0, False, "1"])}


def twins(arguments: Arguments) -> Iterator[tuple[str, str]]:
    """The same arguments, written as other JSON texts."""
    if len(arguments) > 1:
        yield "other order", json.dumps(dict(reversed(arguments.items())), ensure_ascii=False)
    yield "white space in JSON", json.dumps(arguments, ensure_ascii=False, indent=3)
    yield "escapes in JSON", _escaped(arguments)


def _escaped(arguments: Arguments) -> str:
    r"""The arguments with each letter of each string as ``\uXXXX``."""
    text = json.dumps(arguments, ensure_ascii=True)
    inside, out, position = False, [], 0
    while position < len(text):
        letter = text[position]
        if letter == "\\":
            width = 6 if text[position + 1] == "u" else 2
            out.append(text[position : position + width])
            position += width
            continue
        inside ^= letter == '"'
        out.append(f"\\u{ord(letter):04x}" if inside and letter.isalnum() else letter)
        position += 1
    return "".join(out)


def same_json(a: Any, b: Any) -> bool:
    """Whether two JSON values are equal in value and type; the order of members does not matter."""
    return exact_text(a) == exact_text(b)


def exact_text(value: Any) -> str:
    """A text that is the same for equal JSON values only; 1 and 1.0 count as equal.

    It shares no code with the keys of the cache, so that it can check them.
    """
    if isinstance(value, dict):
        return "{" + ",".join(f"{name!r}:{exact_text(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(exact_text, value)) + "]"
    if isinstance(value, float) and value.is_integer():
        return repr(int(value))
    return repr(value)
