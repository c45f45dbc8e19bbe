"""ToolBench's response templates: an answer of an API with type words in place of its values.

    "str" "int" "float" "bool" "NoneType"       a value of that type
    "empty list"                                 a list without entries
    ["list of str with length 8"]                eight strings
    [{"title": "str", "_list_length": 20}]       twenty objects of this shape
    anything else                                itself

The lengths are those of one observed answer. They say that there were several entries, not how many there
must be, so a list gets at most four entries, and fewer within other lists.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeAlias

import orjson

from stb_core.values import ApiDocument, ApiRef

MAX_ENTRIES = (4, 2, 2, 1)
"""Most entries of a list, of a list within a list's entry, and so on; the last holds further down."""
MAX_DEPTH = 32

_MOST_CHARACTERS = 100_000
_LENGTH_MEMBER = "_list_length"
_LIST_OF = re.compile(r"list of (\w+) with length (\d+)")


class Leaf(NamedTuple):
    """One value to make: its type word and the name of the member that holds it."""

    type: str
    name: str


LEAF_TYPES = frozenset({"str", "int", "float", "bool", "NoneType", "list", "dict"})


def parse_template(template: Any) -> Any:
    """A template as a JSON value: as it is, or decoded from text; None if it describes no shape.

    ToolBench's release cuts long templates at 1,000 characters; of those, everything up to the last
    complete member counts.
    """
    if not isinstance(template, str):
        return template
    text = template.strip()
    if text in LEAF_TYPES or text == "empty list" or _LIST_OF.fullmatch(text):
        return [text] if text.startswith("list of") else text
    if not text.startswith(("{", "[")):
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return _parse_cut(text)


def _parse_cut(text: str) -> Any:
    """The longest beginning of cut JSON that ends with a complete member, with its brackets closed."""
    open_brackets: list[str] = []
    end, closing = 0, ""
    in_string = escaped = False
    for position, character in enumerate(text[:_MOST_CHARACTERS]):
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        elif character in "{[":
            open_brackets.append("}" if character == "{" else "]")
            end, closing = position + 1, "".join(reversed(open_brackets))
        elif character in "}]":
            if not open_brackets or open_brackets.pop() != character:
                return None
            end, closing = position + 1, "".join(reversed(open_brackets))
        elif character == ",":
            end, closing = position, "".join(reversed(open_brackets))
    try:
        return orjson.loads(text[:end] + closing)
    except orjson.JSONDecodeError:
        return None


def fill_template(template: Any, make: Callable[[Leaf], Any]) -> Any:
    """A value of the template's shape; ``make`` gives the value of a leaf.

    Values nested deeper than ``MAX_DEPTH`` become null.
    """
    return _Filling(make).value(template)


class _Filling:
    """One filling; ``name`` is the member that holds a value, ``lists`` counts the lists around it."""

    def __init__(self, make: Callable[[Leaf], Any]) -> None:
        self._make = make

    def value(self, template: Any, name: str = "", depth: int = 0, lists: int = 0) -> Any:
        if depth > MAX_DEPTH:
            return None
        if isinstance(template, dict):
            return {
                member: self.value(inner, member, depth + 1, lists)
                for member, inner in template.items()
                if member != _LENGTH_MEMBER
            }
        if isinstance(template, list):
            entries = [entry for inner in template for entry in _repeated(inner, lists)]
            return [self.value(entry, name, depth + 1, lists + 1) for entry in entries]
        if template == "empty list":
            return []
        is_leaf = isinstance(template, str) and template in LEAF_TYPES
        return self._make(Leaf(template, name)) if is_leaf else template


def _repeated(template: Any, lists: int) -> list[Any]:
    """The entries that one entry of a list stands for."""
    listed = _LIST_OF.fullmatch(template) if isinstance(template, str) else None
    if listed:
        entry, observed = listed[1], int(listed[2])
    elif isinstance(template, dict) and isinstance(template.get(_LENGTH_MEMBER), int):
        entry, observed = template, template[_LENGTH_MEMBER]
    else:
        return [template]
    return [entry] * max(0, min(observed, MAX_ENTRIES[min(lists, len(MAX_ENTRIES) - 1)]))


Documents: TypeAlias = Callable[[int, ApiRef], Awaitable[ApiDocument | None]]
"""Finds the document of an API of a dataset (by the dataset's number): ``store.datasets.api``."""
