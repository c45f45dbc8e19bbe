"""The shape of an API's answers as a JSON Schema: from its template, else from recorded answers.

Only keywords that ``stb_core.llm.structured_output`` checks and that servers with structured output know are
used: type (one or several), properties, required, additionalProperties, items.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import orjson

from stb_core.errors import FormatError
from stb_core.llm import Schema
from stb_core.values import JsonObject, parse_literal
from stb_server.calls import parse_template

MAX_DEPTH = 12
"""Deeper parts of a shape are left open."""
MAX_MEMBERS = 400
"""A shape with more members is left open beyond this number: servers refuse huge schemas."""

_SCALARS = ["boolean", "null", "number", "string"]
_WORDS: dict[str, Schema] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    # A value that was null once may have any type; the entries of an empty list are unknown.
    "NoneType": {"type": _SCALARS},
    "list": {"type": "array"},
    "dict": {"type": "object"},
    "empty list": {"type": "array"},
}
_LIST_OF = re.compile(r"list of (\w+) with length \d+")
_LENGTH_MEMBER = "_list_length"


def schema_of_template(template: Any) -> Schema | None:
    """The schema of a ``template_response``; None if it describes no shape.

    Every member that the template shows is required, and no other is allowed. Lengths of lists are
    those of one answer and are not required.
    """
    parsed = parse_template(template)
    if parsed is None or parsed in ({}, [], ""):
        return None
    return _Templates().schema(parsed, 0)


class _Templates:
    def __init__(self) -> None:
        self._members = 0

    def schema(self, template: Any, depth: int) -> Schema:
        if isinstance(template, dict):
            return self._object(template, depth)
        if isinstance(template, list):
            shapes = [self.schema(entry, depth + 1) for entry in template if not _is_list_of(entry)]
            shapes += [_entry(entry) for entry in template if _is_list_of(entry)]
            return {"type": "array"} if not shapes else {"type": "array", "items": _merge_all(shapes)}
        if isinstance(template, str):
            if _is_list_of(template):
                return {"type": "array", "items": _entry(template)}
            return _WORDS.get(template, {"type": "string"})
        return {"type": _type_of(template)}

    def _object(self, template: JsonObject, depth: int) -> Schema:
        members = {name: inner for name, inner in template.items() if name != _LENGTH_MEMBER}
        self._members += len(members)
        if not members or depth > MAX_DEPTH or self._members > MAX_MEMBERS:
            return {"type": "object"}
        return {
            "type": "object",
            "properties": {name: self.schema(inner, depth + 1) for name, inner in members.items()},
            "required": list(members),
            "additionalProperties": False,
        }


def _is_list_of(template: Any) -> bool:
    return isinstance(template, str) and _LIST_OF.fullmatch(template) is not None


def _entry(template: str) -> Schema:
    match = _LIST_OF.fullmatch(template)
    return _WORDS.get(match[1], {}) if match else {}


def schema_of_examples(values: Iterable[Any]) -> Schema | None:
    """The schema that all these decoded answers fit; None without answers.

    Members that every answer has are required; others are allowed.
    """
    shapes = [schema_of_value(value) for value in values]
    return _merge_all(shapes) if shapes else None


def schema_of_value(value: Any, depth: int = 0) -> Schema:
    """The schema of one decoded answer."""
    if isinstance(value, dict) and depth <= MAX_DEPTH and 0 < len(value) <= MAX_MEMBERS:
        return {
            "type": "object",
            "properties": {name: schema_of_value(member, depth + 1) for name, member in value.items()},
            "required": list(value),
        }
    if isinstance(value, list) and value and depth <= MAX_DEPTH:
        return {"type": "array", "items": _merge_all([schema_of_value(entry, depth + 1) for entry in value])}
    return {"type": _SCALARS if value is None else _type_of(value)}


def _type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    kinds: tuple[tuple[type, str], ...] = (
        (str, "string"),
        (int, "integer"),
        (float, "number"),
        (list, "array"),
        (dict, "object"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def _merge_all(shapes: list[Schema]) -> Schema:
    merged = shapes[0]
    for shape in shapes[1:]:
        merged = _merge(merged, shape)
    return merged


def _merge(left: Schema, right: Schema) -> Schema:
    """The schema of everything that fits one of the two."""
    if left == right:
        return left
    if not left or not right:  # one of them is open to everything
        return {}
    types = _types(left) | _types(right)
    if "number" in types:
        types.discard("integer")
    merged: Schema = {"type": sorted(types) if len(types) > 1 else next(iter(types))}
    objects = [shape for shape in (left, right) if "object" in _types(shape)]
    if objects and all("properties" in shape for shape in objects):
        names = list(dict.fromkeys(name for shape in objects for name in shape["properties"]))
        merged["properties"] = {
            name: _merge_all([shape["properties"][name] for shape in objects if name in shape["properties"]])
            for name in names
        }
        merged["required"] = [name for name in names if all(name in shape["required"] for shape in objects)]
        if all(shape.get("additionalProperties") is False for shape in objects):
            merged["additionalProperties"] = False
    arrays = [shape for shape in (left, right) if "array" in _types(shape)]
    if arrays and all("items" in shape for shape in arrays):
        merged["items"] = _merge_all([shape["items"] for shape in arrays])
    return merged


def _types(shape: Schema) -> set[str]:
    kinds = shape.get("type", [])
    return {kinds} if isinstance(kinds, str) else set(kinds)


_MOST_LITERAL = 200_000


def decode_response(response: Any) -> Any:
    """The value of a response: text that is JSON or a literal in Python's notation is decoded.

    ToolBench's servers pass bodies on as they are, as JSON text or as ``str()`` of the decoded body.
    Other text stays as it is.
    """
    if not isinstance(response, str):
        return response
    text = response.strip()
    if not text.startswith(("{", "[")) or len(text) > _MOST_LITERAL:
        return response
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return _as_json(parse_literal(text))
    except (FormatError, TypeError):
        return response


def _as_json(value: Any) -> Any:
    """A literal as JSON would hold it; raises if JSON cannot hold it."""
    return orjson.loads(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS))
