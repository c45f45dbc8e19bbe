"""Structured output: checks JSON values against a schema, and finds the one in a reply that fits.

Endpoints differ in how well they follow a schema, so a reply is always checked. The keywords in
``KEYWORDS`` are checked and those in ``NOTES`` have no effect. A schema with any other keyword is refused,
because a violation would go unnoticed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from stb_core.errors import UsageError

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

# In a longer reply no object is searched for, as that takes quadratic time in the worst case; it must be
# one as a whole.
_MAX_SEARCHED = 50_000

Schema = dict[str, Any]

KEYWORDS = frozenset(
    {
        "type",
        "enum",
        "const",
        "anyOf",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
    }
)
NOTES = frozenset({"$schema", "$id", "$comment", "title", "description", "default", "examples"})


def check_schema(schema: Any) -> None:
    """Check that every keyword of a schema is supported.

    Raises:
        UsageError: it has a keyword or a type that is not supported.
    """
    for part in _parts(schema):
        if not isinstance(part, dict):
            raise UsageError(f"The schema has {part!r} where a schema should be.", hint="Write an object.")
        unknown = sorted(part.keys() - KEYWORDS - NOTES)
        if unknown:
            raise UsageError(
                f"The schema has the keyword {unknown[0]!r}, which is not supported.",
                hint=f"Use only {', '.join(sorted(KEYWORDS))}.",
            )
        unknown_types = sorted(_types(part) - _TYPES.keys())
        if unknown_types:
            raise UsageError(
                f"The schema has the type {unknown_types[0]!r}, which is not a JSON type.",
                hint=f"Use one of {', '.join(_TYPES)}.",
            )


def _parts(schema: Any) -> Iterator[Any]:
    """The schema and all schemas inside it."""
    yield schema
    if not isinstance(schema, dict):
        return
    within = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    within += [schema[name] for name in ("items", "additionalProperties") if name in schema]
    for part in within:
        if part is not False and part is not True:
            yield from _parts(part)


def _types(schema: Schema) -> set[str]:
    kinds = schema.get("type", ())
    return {kinds} if isinstance(kinds, str) else set(kinds)


def fits(value: Any, schema: Schema) -> bool:
    """Whether a decoded JSON value fits a schema that ``check_schema`` accepts."""
    allowed = schema.get("enum", [schema["const"]] if "const" in schema else [value])
    return (
        value in allowed
        and _has_type(value, schema.get("type"))
        and ("anyOf" not in schema or any(fits(value, shape) for shape in schema["anyOf"]))
        and _content_fits(value, schema)
    )


def _content_fits(value: Any, schema: Schema) -> bool:
    match value:
        case dict():
            return _object_fits(value, schema)
        case list():
            entries = schema.get("items", True)
            return _is_within(len(value), schema, "Items") and all(_allowed(item, entries) for item in value)
        case str():
            return _is_within(len(value), schema, "Length")
        case int() | float() if not isinstance(value, bool):
            return _is_within(value, schema, "imum")
        case _:
            return True


def _is_within(measure: float, schema: Schema, what: str) -> bool:
    least, most = schema.get(f"min{what}", measure), schema.get(f"max{what}", measure)
    return bool(least <= measure <= most)


def _has_type(value: Any, wanted: str | list[str] | None) -> bool:
    if wanted is None:
        return True
    kinds = [wanted] if isinstance(wanted, str) else wanted
    allowed = tuple(kind for name in kinds for kind in _TYPES.get(name, ()))
    return isinstance(value, allowed) and not (isinstance(value, bool) and "boolean" not in kinds)


def _allowed(value: Any, schema: Schema | bool) -> bool:
    """As ``fits``, for places where a schema may also be true or false."""
    return schema if isinstance(schema, bool) else fits(value, schema)


def _object_fits(value: dict[str, Any], schema: Schema) -> bool:
    properties = schema.get("properties", {})
    if not all(name in value for name in schema.get("required", ())):
        return False
    others = schema.get("additionalProperties", True)
    return all(_allowed(member, properties.get(name, others)) for name, member in value.items())


def find_object(text: str, schema: Schema) -> dict[str, Any] | None:
    """The one object in a reply that fits the schema; None if none fits, or more than one."""
    found = [value for value in objects_in(text) if fits(value, schema)]
    return found[0] if len(found) == 1 else None


def objects_in(text: str) -> list[dict[str, Any]]:
    """The JSON objects in a reply: the reply itself, alone or in a code fence, or else those between its words.

    What a model thinks before it answers (``<think>``) is no part of its reply. Text with a repeated key,
    NaN or an infinity is not JSON.
    """
    whole = _decode_reply(text)
    if whole is None:
        text = without_thinking(text)
        whole = _decode_reply(text)
    if whole is not None:
        return [whole]
    return [] if len(text) > _MAX_SEARCHED else _objects_within(text)


def _decode_reply(text: str) -> dict[str, Any] | None:
    return _decode(unfenced(text))


def unfenced(text: str) -> str:
    """What a text holds that is a fenced block as a whole; any other text as it is."""
    fenced = _FENCE.match(text)
    return fenced[1] if fenced else text


def without_thinking(text: str) -> str:
    """The text after a leading ``<think>…</think>``; nothing if it does not end.

    Some templates put ``<think>`` into the prompt, so the reply has only its end.
    """
    is_open = text.lstrip().startswith("<think>")
    before, end, after = text.partition("</think>")
    if end and (is_open or "<think>" not in before):
        return after
    return "" if is_open else text


def is_strict(schema: Schema) -> bool:
    """Whether OpenAI accepts the schema with ``strict``, and so follows it token by token.

    The root is an object. Every object allows no other members and requires all its own. Every list
    describes its entries. Everything has a type. Lengths are not limited. In ``anyOf`` the objects begin
    with different members, which distinguish them.
    """
    return _types(schema) == {"object"} and "anyOf" not in schema and _is_strict_part(schema)


_NEVER_STRICT = frozenset({"minItems", "maxItems", "minLength", "maxLength"})


def _is_strict_part(schema: Schema) -> bool:
    if schema.keys() & _NEVER_STRICT:
        return False
    if "anyOf" in schema:
        shapes = schema["anyOf"]
        first_members = [next(iter(shape["properties"]), "") for shape in shapes if shape.get("properties")]
        return len(set(first_members)) == len(first_members) and all(
            _is_strict_part(shape) for shape in shapes
        )
    kinds = _types(schema)
    if "object" in kinds or "properties" in schema:
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(
            properties
        ):
            return False
        if not all(_is_strict_part(member) for member in properties.values()):
            return False
    if "array" in kinds or "items" in schema:
        return isinstance(schema.get("items"), dict) and _is_strict_part(schema["items"])
    return bool(kinds) or "enum" in schema or "const" in schema


def _decode(text: str) -> dict[str, Any] | None:
    try:
        value = _decoder.decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _objects_within(text: str) -> list[dict[str, Any]]:
    """The outermost objects in the text, from left to right."""
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
