"""The keys of the official response cache: a call's arguments in Python's notation, read safely.

The reference server writes ``str(arguments)``. Such text is parsed as a literal, never evaluated.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any

import orjson

from stb_core.calls import JsonObject
from stb_core.errors import FormatError

_LONG_INTEGER = re.compile(r"[0-9]{19}")
_MOST_CHARACTERS = 1_000_000


def parse_arguments_literal(text: str) -> JsonObject:
    """The arguments that a cache key stands for, exactly as ``ast.literal_eval`` reads them.

    Raises:
        FormatError: the text is not the notation of one dict.
    """
    if len(text) > _MOST_CHARACTERS:
        raise FormatError(f"the key is longer than {_MOST_CHARACTERS} characters")
    found = _parse_plain(text)
    if found is not None:
        return found
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes that Python does not know
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise FormatError("the key is not a dict in Python's notation") from None
    if not isinstance(value, dict):
        raise FormatError(f"the key is not a dict but a {type(value).__name__}")
    return value


def _parse_plain(text: str) -> JsonObject | None:
    """The same by way of JSON, five times faster; None where the two notations could differ.

    Without double quotes and backslashes every string is what stands between two single quotes, in
    Python as in JSON once the quotes are exchanged. Outside strings only the three words differ.
    What JSON then accepts Python reads alike, except integers beyond 64 bits and JSON's own words.
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
