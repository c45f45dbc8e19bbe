"""Reads values in Python's notation, as ToolBench's programs write them, safely from untrusted text.

The reference server writes ``str(arguments)`` as a key, and forwards bodies as ``str()`` of the decoded value.
Such text is parsed as a literal, never evaluated, and limited in size. No other module may call
``ast.literal_eval``: it raises many kinds of errors, and may return a value that cannot be serialized.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any

import orjson

from stb_core.errors import FormatError
from stb_core.values.calls import JsonObject

MAX_CHARACTERS = 1_000_000
MAX_LEVELS = 100
"""Maximum nesting of a value."""
MAX_INTEGER_BITS = 14_000
"""Python reads and writes decimal integers of up to 4,300 digits."""
_LONG_INTEGER = re.compile(r"[0-9]{19}")


def parse_literal(text: str) -> Any:
    """Parse a text, with exactly the result of ``ast.literal_eval``.

    The value may hold what JSON cannot: tuples, sets, bytes, complex numbers, infinities, keys of any of
    these, and halves of surrogate pairs.

    Raises:
        FormatError: the text is not a literal, or exceeds a limit: ``MAX_CHARACTERS``, ``MAX_LEVELS``,
            ``MAX_INTEGER_BITS``.
    """
    if len(text) > MAX_CHARACTERS:
        raise FormatError(f"the text is longer than {MAX_CHARACTERS} characters")
    plain_value = _parse_plain(text)
    if plain_value is not None:
        if text.count("{") + text.count("[") > MAX_LEVELS:
            _check(plain_value)
        return plain_value
    try:
        with warnings.catch_warnings(action="ignore"):  # about escapes that Python does not know
            value = ast.literal_eval(text)
    # The parser raises MemoryError for text that is nested too deep.
    except (ValueError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError):
        raise FormatError("the text is not a value in Python's notation") from None
    _check(value)
    return value


def parse_arguments_literal(text: str) -> JsonObject:
    """Parse the arguments from a key of the official response cache.

    Raises:
        FormatError: the text is not a dict in Python's notation.
    """
    if len(text) > MAX_CHARACTERS:
        raise FormatError(f"the key is longer than {MAX_CHARACTERS} characters")
    try:
        value = parse_literal(text)
    except FormatError:
        raise FormatError("the key is not a dict in Python's notation") from None
    if not isinstance(value, dict):
        raise FormatError(f"the key is not a dict but a {type(value).__name__}")
    return value


def _check(value: Any) -> None:
    """Reject values that are nested too deep, and integers that cannot be written."""
    level, depth = [value], 0
    while level:
        next_level: list[Any] = []
        for item in level:
            if depth >= MAX_LEVELS and isinstance(item, dict | list | tuple | set):
                raise FormatError(f"the text is nested deeper than {MAX_LEVELS} levels")
            if isinstance(item, dict):
                next_level += item
                next_level += item.values()
            elif isinstance(item, list | tuple | set):
                next_level += item
            elif isinstance(item, int) and item.bit_length() > MAX_INTEGER_BITS:
                raise FormatError("the text holds an integer that is too large")
        level, depth = next_level, depth + 1


def _parse_plain(text: str) -> JsonObject | None:
    """Parse simple text as JSON, which is five times faster; None if the two notations could differ.

    Without double quotes and backslashes, a string is the text between two single quotes, in Python and,
    once the quotes are replaced, in JSON. Outside strings only True, False and None differ. Python reads
    what JSON then accepts in the same way, except integers beyond 64 bits and JSON's own three words.
    """
    if '"' in text or "\\" in text or not (text.startswith("{") and text.endswith("}")):
        return None
    pieces = text.split("'")
    outside = "'".join(pieces[::2])
    if "true" in outside or "false" in outside or "null" in outside:
        return None
    if len(outside) > 18 and _LONG_INTEGER.search(outside):
        return None
    if "True" in outside or "False" in outside or "None" in outside:
        outside = outside.replace("True", "true").replace("False", "false").replace("None", "null")
        pieces[::2] = outside.split("'")
    try:
        value: Any = orjson.loads('"'.join(pieces))
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
