"""A tool call and its key: the same call has the same key on any machine, for any client.

The key is the SHA-256 of the canonical JSON (RFC 8785) of ``[category, tool, api, arguments]``
with the names in ToolBench's standard form. Key order and white space do not matter; any change
of a value or of its type does. Before the key is made, nulls for optional parameters are left out
(``stb_core.values.nulls``). RFC 8785 carries numbers as IEEE doubles; integers beyond
±(2⁵³ - 1), which it cannot tell apart, are written with all their digits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import orjson
import rfc8785

from stb_core import json_text
from stb_core.errors import CallError, FormatError

JsonObject: TypeAlias = dict[str, Any]

MAX_DEPTH = 64
KEY_SCHEME = 2
"""Number of the rules by which keys are made.

Whoever changes the rules counts up, adds the new number to ``_FIRST_VERSIONS``, and adds a migration
that makes the keys of stores anew. Dumps get theirs when they are loaded.
"""
_FIRST_VERSIONS = {1: "0.1.0", 2: "0.1.0"}
"""Scheme → the version of stabletoolbench that first used it."""
SCHEMES_WITH_EQUAL_KEYS = frozenset({1, 2})
"""Schemes that make the same key of the same arguments. The second has fewer arguments in some calls: it leaves
out nulls for optional parameters."""
_MAX_EXACT_INTEGER = 2**53 - 1


def canonical_json(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value.

    Raises:
        CallError: the value is nested deeper than ``MAX_DEPTH``, or holds something that JSON
            cannot carry (NaN, an infinity, a lone surrogate, a key that is not a string).
    """
    if _is_plain(value, MAX_DEPTH):
        # Sorted compact output and RFC 8785 agree on strings, integers, booleans and null.
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return _canonical_text(value, MAX_DEPTH).encode()


def _is_plain(value: Any, depth: int) -> bool:
    """Whether orjson's sorted output is already canonical: ASCII text, safe integers, no floats."""
    kind = type(value)
    if kind is str:
        return bool(value.isascii())
    if kind is int:
        return bool(abs(value) <= _MAX_EXACT_INTEGER)
    if kind is dict and depth > 0:
        return _has_plain_members(value, depth)
    if kind is list and depth > 0:
        return all(_is_plain(item, depth - 1) for item in value)
    return value is None or kind is bool


def _has_plain_members(value: JsonObject, depth: int) -> bool:
    for name, member in value.items():
        if type(name) is not str or not name.isascii():
            return False
        # Text is what most members are; asking here saves a call.
        if not (member.isascii() if type(member) is str else _is_plain(member, depth - 1)):
            return False
    return True


def _canonical_text(value: Any, depth: int) -> str:
    if isinstance(value, Mapping | list | tuple) and depth <= 0:
        raise CallError(f"Arguments are nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise CallError("A name in the arguments is not a string, which JSON does not allow.")
        try:
            names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        except UnicodeEncodeError:
            raise CallError("The arguments hold half of a surrogate pair, which is not text.") from None
        members = (f"{_canonical_text(n, depth)}:{_canonical_text(value[n], depth - 1)}" for n in names)
        return "{" + ",".join(members) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_canonical_text(item, depth - 1) for item in value) + "]"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    try:
        return rfc8785.dumps(value).decode()
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as problem:
        raise CallError(f"The arguments hold something that JSON cannot carry: {problem}.") from None


def parse_arguments(tool_input: str | bytes | Mapping[str, Any] | None) -> JsonObject:
    """The arguments of a call as clients send them: JSON text of one object, an object, or nothing.

    Nothing is None, no text, blank text, or the text ``null``.

    Raises:
        CallError: the text is not JSON, or not one object.
    """
    if tool_input is None:
        return {}
    if isinstance(tool_input, Mapping):
        return dict(tool_input)
    if not tool_input.strip():
        return {}
    try:
        value = json_text.parse_strictly(tool_input)
    except FormatError as problem:
        raise CallError(f"tool_input is not one JSON object: {problem.message}.") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise CallError(f"tool_input is not a JSON object but {_kind(value)}.")
    return value


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "an array"
    if isinstance(value, str):
        return "a string"
    return "a boolean" if isinstance(value, bool) else "a number"


@dataclass(frozen=True)
class ToolCall:
    """One call of one API; names in standard form, arguments as decoded JSON.

    The dataset is not part of the key: it says which recordings may answer the call.
    """

    category: str
    tool: str
    api: str
    arguments: JsonObject = field(hash=False)

    @cached_property
    def canonical_arguments(self) -> bytes:
        """RFC 8785 bytes of the arguments."""
        return canonical_json(self.arguments)

    @cached_property
    def key(self) -> str:
        """SHA-256 of the call, 64 lower-case hexadecimal digits."""
        return call_key(self.category, self.tool, self.api, self.canonical_arguments)


def call_key(category: str, tool: str, api: str, canonical_arguments: bytes) -> str:
    """The key of a call whose arguments are already canonical; names in standard form."""
    return hashlib.sha256(_key_prefix(category, tool, api) + canonical_arguments + b"]").hexdigest()


def readers_of_scheme(scheme: int) -> str:
    """Which version of this program has keys of that scheme, for hints."""
    known = _FIRST_VERSIONS.get(scheme)
    return f"stabletoolbench {known}" if known else "a newer version of stabletoolbench"


@lru_cache(maxsize=4096)
def _key_prefix(category: str, tool: str, api: str) -> bytes:
    return canonical_json([category, tool, api])[:-1] + b","


def content_hash(value: Any) -> str:
    """SHA-256 of the canonical JSON of any JSON value, as hexadecimal digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
