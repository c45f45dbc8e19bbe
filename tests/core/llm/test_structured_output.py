"""Structured output is checked, whatever the endpoint promised."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stb_core.errors import UsageError
from stb_core.llm.structured_output import Schema, check_schema, find_object, fits, is_strict

SCHEMA = {
    "type": "object",
    "properties": {
        "status": {"type": "string", "enum": ["solved", "unsure", "unsolved"]},
        "reason": {"type": "string"},
        "points": {"type": "integer", "minimum": 0, "maximum": 10},
    },
    "required": ["status"],
    "additionalProperties": False,
}
GOOD = {"status": "solved", "reason": "r", "points": 3}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(GOOD),
        f"```json\n{json.dumps(GOOD, indent=1)}\n```",
        f"Here you are: {json.dumps(GOOD)} I hope it helps {{or not}}.",
        f'{{"thought": "not the one"}} {json.dumps(GOOD)}',
    ],
)
def test_the_object_is_found_with_or_without_words_around_it(text: str) -> None:
    """Bare, fenced, within prose, and beside another object that does not fit."""
    assert find_object(text, SCHEMA) == GOOD


@pytest.mark.parametrize(
    "text",
    [
        "",
        "solved",
        '{"status": "maybe"}',
        '{"reason": "r"}',
        '{"status": "solved", "more": 1}',
        '{"status": "solved", "points": true}',
        '{"status": "solved", "points": 11}',
        '{"status": "solved", "status": "unsolved"}',
        '{"status": "solved", "points": NaN}',
        '{"status": "solv',
        json.dumps(GOOD) + json.dumps({"status": "unsolved"}),
        "[" * 100_000,
    ],
)
def test_anything_else_is_not_an_answer(text: str) -> None:
    """A wrong value, a missing, repeated or unknown key, NaN, half a text, two answers, extreme nesting."""
    assert find_object(text, SCHEMA) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda v: st.lists(v) | st.dictionaries(st.text(), v),
    )
)
def test_any_value_fits_the_empty_schema(value: object) -> None:
    """It demands nothing."""
    assert fits(value, {})


def test_strictness_depends_on_every_object() -> None:
    """OpenAI's strict mode needs closed objects with nothing optional, all the way down."""
    closed = {**SCHEMA, "required": ["status", "reason", "points"]}

    assert [is_strict(s) for s in (SCHEMA, closed, {"type": "array", "items": SCHEMA})] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "a"},
        {"type": "object", "properties": {"x": {"oneOf": [{"type": "string"}]}}},
        {"type": "array", "items": {"format": "date"}},
        {"anyOf": [{"type": "string"}, {"multipleOf": 2}]},
        {"type": "object", "additionalProperties": {"$ref": "#"}},
        {"type": "text"},
        {"type": "array", "items": ["string"]},
    ],
)
def test_a_keyword_that_is_not_checked_is_refused(schema: Schema) -> None:
    """At any depth, as a violation would go unnoticed."""
    with pytest.raises(UsageError):
        check_schema(schema)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (
            {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}]},
            ["a", [1]],
            [1, ["a"]],
        ),
        ({"minLength": 1, "maxLength": 2}, ["a", "ab", 5], ["", "abc"]),
        ({"minItems": 1, "maxItems": 2}, [[1], [1, 2], "abc"], [[], [1, 2, 3]]),
        ({"additionalProperties": {"type": "integer"}}, [{}, {"x": 1}], [{"x": "1"}]),
        ({"minimum": 1, "maximum": 2}, [1, 2, True, "x"], [0, 3]),
        ({"title": "t", "description": "d", "const": 1}, [1], [2]),
    ],
)
def test_every_supported_keyword_is_checked(schema: Schema, good: list[object], bad: list[object]) -> None:
    """What it allows fits, and what it forbids does not."""
    check_schema(schema)

    assert all(fits(value, schema) for value in good)
    assert not any(fits(value, schema) for value in bad)


@pytest.mark.parametrize(
    ("member", "strict"),
    [
        ({"type": "string"}, True),
        ({"enum": ["a"]}, True),
        ({"type": ["string", "null"]}, True),
        ({}, False),
        ({"type": ["object", "string"]}, False),
        ({"type": "array"}, False),
        ({"type": "array", "items": {"type": "integer"}}, True),
        ({"type": "string", "minLength": 1}, False),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, True),
    ],
)
def test_strictness_requires_a_type_everywhere(member: Schema, strict: bool) -> None:
    """OpenAI's strict mode leaves nothing open."""
    whole = {"type": "object", "properties": {"x": member}, "required": ["x"], "additionalProperties": False}

    assert is_strict(whole) is strict
    assert not is_strict(member)


def test_strict_alternatives_begin_with_different_members() -> None:
    """OpenAI refuses objects within anyOf that share their first member."""

    def either(*names: str) -> Schema:
        shapes = [
            {
                "type": "object",
                "properties": {n: {"type": "string"}},
                "required": [n],
                "additionalProperties": False,
            }
            for n in names
        ]
        return {
            "type": "object",
            "properties": {"x": {"anyOf": shapes}},
            "required": ["x"],
            "additionalProperties": False,
        }

    assert [is_strict(either("a", "b")), is_strict(either("a", "a"))] == [True, False]
