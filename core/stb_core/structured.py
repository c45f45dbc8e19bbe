"""Structured output: does a JSON value fit a schema, and where in a reply is the one that does.

Endpoints differ in how well they keep to a schema, so a reply is always checked. Only the keywords
that our own schemas use are looked at: type, enum, const, properties, required,
additionalProperties, items, minimum and maximum.
"""

from __future__ import annotations

import json
import re
from typing import Any

_FENCE = re.compile(r"\A\s*```[a-zA-Z]*\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}

# A reply longer than this is read as a whole or not at all: looking for an object inside takes
# quadratic time in the worst case.
_MAX_SEARCHED = 50_000

Schema = dict[str, Any]


def fits(value: Any, schema: Schema) -> bool:
    """Whether a decoded JSON value fits a schema, as far as the keywords above tell."""
    allowed = schema.get("enum", [schema["const"]] if "const" in schema else [value])
    if value not in allowed or not _has_type(value, schema.get("type")):
        return False
    if isinstance(value, dict):
        return _object_fits(value, schema)
    if isinstance(value, list):
        return all(fits(item, schema.get("items", {})) for item in value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    return True


def _has_type(value: Any, wanted: str | list[str] | None) -> bool:
    if wanted is None:
        return True
    kinds = [wanted] if isinstance(wanted, str) else wanted
    allowed = tuple(kind for name in kinds for kind in _TYPES.get(name, ()))
    return isinstance(value, allowed) and not (isinstance(value, bool) and "boolean" not in kinds)


def _object_fits(value: dict[str, Any], schema: Schema) -> bool:
    properties = schema.get("properties", {})
    if not all(name in value for name in schema.get("required", ())):
        return False
    if schema.get("additionalProperties") is False and not value.keys() <= properties.keys():
        return False
    return all(fits(member, properties.get(name, {})) for name, member in value.items())


def find_object(text: str, schema: Schema) -> dict[str, Any] | None:
    """The one object in a reply that fits the schema; None when there is none, or more than one.

    The whole text may be the object, alone or in a code fence, or there may be words around it.
    Text with a repeated key, NaN or an infinity is no JSON.
    """
    fenced = _FENCE.match(text)
    whole = _decode(fenced[1] if fenced else text)
    if whole is not None:
        return whole if fits(whole, schema) else None
    if len(text) > _MAX_SEARCHED:
        return None
    found = [value for value in _objects_within(text) if fits(value, schema)]
    return found[0] if len(found) == 1 else None


def is_strict(schema: Schema) -> bool:
    """Whether every object in the schema is closed and requires all that it names.

    That is what OpenAI's ``strict`` asks of a schema.
    """
    if schema.get("type") == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        closed = schema.get("additionalProperties") is False
        return (
            closed
            and set(schema.get("required", ())) == set(properties)
            and all(is_strict(member) for member in properties.values())
        )
    return is_strict(schema["items"]) if "items" in schema else True


def _decode(text: str) -> dict[str, Any] | None:
    try:
        value = _decoder.decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _objects_within(text: str) -> list[dict[str, Any]]:
    """Outermost objects in the text, from left to right."""
    found: list[dict[str, Any]] = []
    position = text.find("{")
    while position >= 0:
        try:
            value, end = _decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            end = position + 1
        else:
            found.append(value)
        position = text.find("{", end)
    return found


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is repeated")
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_decoder = json.JSONDecoder(object_pairs_hook=_without_repeats, parse_constant=_refuse)
