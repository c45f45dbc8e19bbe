"""From what a model wrote to a JSON object: first strict reading, then repair of slips that models really make.

    slip                                       what is done
    thoughts before the object (<think>)       they are taken off, and never searched for an object
    ```json … ``` around the object            the fence is taken off
    words before or after the one object       they are taken off
    raw line breaks, tabs inside a string      kept as characters
    backslashes that JSON does not know        kept as backslashes
    a dict in Python's notation                read as a literal, never evaluated
    bare quotes in the fields of the envelope  the envelope's own marks decide where a field ends

Text that was cut is not completed, and ambiguous text is not guessed at: it is a fault with a name, and the
caller asks again or gives up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from stb_core.errors import FormatError
from stb_core.llm import without_thinking
from stb_core.values import JsonObject, parse_literal
from stb_core.values.calls import MAX_DEPTH

MAX_CHARACTERS = 1_000_000
"""Longer replies are not read."""


class Repair(StrEnum):
    """A slip that was repaired."""

    THOUGHTS = "thoughts"
    FENCE = "code_fence"
    PROSE = "words_around"
    CONTROL = "raw_control_characters"
    ESCAPES = "unknown_escapes"
    PYTHON = "python_literal"
    QUOTES = "bare_quotes"


class Fault(StrEnum):
    """Why a reply cannot be used."""

    EMPTY = "empty"
    NO_JSON = "no_json"
    MALFORMED = "malformed"
    TRUNCATED = "truncated"
    NOT_AN_OBJECT = "not_an_object"
    SEVERAL_OBJECTS = "several_objects"
    REPEATED_KEY = "repeated_key"
    NOT_A_NUMBER = "nan_or_infinity"
    NUL = "nul_character"
    SURROGATE = "lone_surrogate"
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"
    MISSING_FIELD = "missing_field"
    UNFIT = "does_not_fit_schema"


@dataclass(frozen=True, slots=True)
class Reading:
    """An object with the repairs that it took, or the fault that made reading it impossible."""

    body: JsonObject | None
    repairs: tuple[Repair, ...] = ()
    fault: Fault | None = None


class _FaultError(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


def read_object(text: str) -> Reading:
    """The one JSON object in a reply; pure, and never raises."""
    if len(text) > MAX_CHARACTERS:
        return Reading(None, fault=Fault.TOO_LARGE)
    if not text.strip():
        return Reading(None, fault=Fault.EMPTY)
    try:
        body, repairs = _read(text)
        _check(body, MAX_DEPTH)
    except _FaultError as problem:
        return Reading(None, fault=problem.fault)
    return Reading(body, repairs)


def _read(text: str) -> tuple[JsonObject, tuple[Repair, ...]]:
    """Read the text in the first way that works; a fault on the way is final."""
    for candidate, around in _candidates(text):
        for decode, repairs in _WAYS:
            try:
                value = decode(candidate)
            except ValueError:
                continue
            if not isinstance(value, dict):
                raise _FaultError(Fault.NOT_AN_OBJECT)
            return value, around + repairs
    raise _FaultError(_what_is_wrong(without_thinking(text)))


_FENCE = re.compile(r"```[a-zA-Z]*[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)


def _candidates(text: str) -> Iterator[tuple[str, tuple[Repair, ...]]]:
    """The parts of a text that may be the object, most likely first."""
    whole = text.strip().removeprefix("\ufeff")
    yield whole, ()
    after: tuple[Repair, ...] = ()
    if (rest := without_thinking(whole)) != whole:
        whole, after = rest.strip(), (Repair.THOUGHTS,)
        yield whole, after
    fenced = _FENCE.findall(whole)
    if len(fenced) == 1:
        around = () if whole.startswith("```") and whole.endswith("```") else (Repair.PROSE,)
        yield fenced[0].strip(), (*after, Repair.FENCE, *around)
    found = list(_objects_within(whole))
    if len(found) > 1:
        raise _FaultError(Fault.SEVERAL_OBJECTS)
    if found:
        yield found[0], (*after, Repair.PROSE)


def _objects_within(text: str) -> Iterator[str]:
    """Outermost objects among words; stops at a brace that starts no object, so that no part passes for the whole."""
    position = text.find("{")
    while position >= 0:
        try:
            _, end = _LENIENT.raw_decode(text, position)
        except (ValueError, RecursionError):
            return
        yield text[position:end]
        position = text.find("{", end)


def _strict(text: str) -> Any:
    return _decode(_STRICT, text)


def _with_control(text: str) -> Any:
    return _decode(_LENIENT, text)


# A backslash (with the one it may escape) that begins no escape of JSON.
_ESCAPE = re.compile(r'\\(?:(["\\/bfnrt]|u[0-9a-fA-F]{4})|)')


def _with_escapes(text: str) -> Any:
    return _decode(_LENIENT, _repair_escapes(text))


def _repair_escapes(text: str) -> str:
    return _ESCAPE.sub(lambda found: found[0] if found[1] else r"\\", text)


def _decode(decoder: json.JSONDecoder, text: str) -> Any:
    try:
        return decoder.decode(text)
    except RecursionError:
        raise _FaultError(Fault.TOO_DEEP) from None


_MOST_LITERAL = 100_000


def _python(text: str) -> Any:
    if not text.startswith("{'") or len(text) > _MOST_LITERAL:
        raise ValueError("not a dict in Python's notation")
    try:
        return _strict(json.dumps(parse_literal(text)))
    except FormatError:
        raise ValueError("not a literal") from None
    except TypeError:  # bytes, sets, complex numbers
        raise ValueError("a literal that JSON cannot carry") from None


# The envelope of an answer, whose fields may hold quotes that nobody escaped: a field ends where the
# next one begins. The first field is written by models that reason before they answer.
_FIELDS = ("mechanism_of_the_api", "error", "response")
_FIRST = re.compile(r'\{\s*"(\w+)"\s*:\s*"')
_NEXT = {name: re.compile(rf'"\s*,\s*"{name}"\s*:\s*"') for name in _FIELDS[1:]}
_END = re.compile(r'"\s*\}\Z')
_BARE_QUOTE = re.compile(r'(?<!\\)((?:\\\\)*)"')


def _envelope(text: str) -> Any:
    first = _FIRST.match(text)
    if not first or first[1] not in _FIELDS[:2]:
        raise ValueError("not an envelope")
    name, start, fields = first[1], first.end(), {}
    for following in _FIELDS[_FIELDS.index(name) + 1 :]:
        found = _NEXT[following].search(text, start)
        if not found:
            raise ValueError("not an envelope")
        fields[name] = text[start : found.start()]
        name, start = following, found.end()
    end = _END.search(text, start)
    if not end:
        raise ValueError("not an envelope")
    fields[name] = text[start : end.start()]
    return {name: _decode(_LENIENT, f'"{_escaped(value)}"') for name, value in fields.items()}


def _escaped(field: str) -> str:
    return _BARE_QUOTE.sub(r'\1\\"', _repair_escapes(field))


def _what_is_wrong(text: str) -> Fault:
    start = text.find("{")
    if start < 0:
        return Fault.NO_JSON
    depth, in_string, escaped = 0, False, False
    for character in text[start:]:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        else:
            depth += (character in "{[") - (character in "}]")
    if text.rstrip().endswith("}") and depth <= 0:
        return Fault.MALFORMED
    return Fault.TRUNCATED if depth > 0 or in_string else Fault.MALFORMED


def _check(value: Any, depth: int) -> None:
    """Refuse text anywhere in a value that stores and clients cannot hold."""
    if depth < 0:
        raise _FaultError(Fault.TOO_DEEP)
    if isinstance(value, str):
        if "\0" in value:
            raise _FaultError(Fault.NUL)
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise _FaultError(Fault.SURROGATE)
    elif isinstance(value, float) and (value != value or value in {float("inf"), float("-inf")}):  # noqa: PLR0124 - NaN
        raise _FaultError(Fault.NOT_A_NUMBER)
    elif isinstance(value, dict):
        for name, member in value.items():
            _check(name, depth)
            _check(member, depth - 1)
    elif isinstance(value, list):
        for member in value:
            _check(member, depth - 1)


def _without_repeats(pairs: list[tuple[str, Any]]) -> JsonObject:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _FaultError(Fault.REPEATED_KEY)
    return value


def _refuse(_: str) -> Any:
    raise _FaultError(Fault.NOT_A_NUMBER)


_STRICT = json.JSONDecoder(object_pairs_hook=_without_repeats, parse_constant=_refuse)
_LENIENT = json.JSONDecoder(object_pairs_hook=_without_repeats, parse_constant=_refuse, strict=False)

_WAYS: tuple[tuple[Callable[[str], Any], tuple[Repair, ...]], ...] = (
    (_strict, ()),
    (_with_control, (Repair.CONTROL,)),
    (_with_escapes, (Repair.ESCAPES,)),
    (_python, (Repair.PYTHON,)),
    (_envelope, (Repair.QUOTES,)),
)
