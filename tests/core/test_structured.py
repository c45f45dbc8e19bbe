"""Structured output is checked, whatever the endpoint promised."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stb_core.structured import find_object, fits, is_strict

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
def test_anything_else_is_no_answer(text: str) -> None:
    """A wrong value, a missing, repeated or unknown key, NaN, torn text, two answers, hopeless depth."""
    assert find_object(text, SCHEMA) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda v: st.lists(v) | st.dictionaries(st.text(), v),
    )
)
def test_any_value_fits_the_empty_schema(value: object) -> None:
    """A schema that asks nothing is fitted by everything."""
    assert fits(value, {})


def test_strictness_looks_into_every_object() -> None:
    """OpenAI's strict mode needs closed objects with nothing optional, all the way down."""
    closed = {**SCHEMA, "required": ["status", "reason", "points"]}

    assert [is_strict(s) for s in (SCHEMA, closed, {"type": "array", "items": SCHEMA})] == [
        False,
        True,
        False,
    ]
