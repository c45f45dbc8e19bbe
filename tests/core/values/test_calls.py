"""The same call has the same key; any other call has another."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from stb_core.errors import CallError
from stb_core.values.calls import MAX_DEPTH, ToolCall, canonical_json, parse_arguments

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
arguments = st.dictionaries(names, values, max_size=5)


def key(arguments: dict[str, Any]) -> str:
    return ToolCall("Data", "tool", "api", arguments).key


def strict(value: Any) -> Any:
    """A form in which 1, True, "1" and 1.5 differ, and 1 and 1.0, one number in JSON, do not."""
    if isinstance(value, dict):
        return {name: strict(member) for name, member in value.items()}
    if isinstance(value, list):
        return [strict(member) for member in value]
    if isinstance(value, bool) or value is None:
        return (type(value).__name__, value)
    return ("number", float(value)) if isinstance(value, int | float) else ("text", value)


@given(values)
def test_canonical_json_is_that_of_rfc_8785(value: Any) -> None:
    """Both of our paths, the fast and the general, agree with an independent implementation."""
    assert rfc8785.dumps(value) == canonical_json(value)


@given(arguments, st.randoms())
def test_order_and_white_space_do_not_matter(value: dict[str, Any], rng: Any) -> None:
    """JSON text of the same object, however it is written, is the same call."""
    items = list(value.items())
    rng.shuffle(items)
    text = json.dumps(dict(items), indent=rng.choice([None, 1, 4]), ensure_ascii=rng.random() < 0.5)

    assert key(value) == key(parse_arguments(text))


@given(arguments, arguments)
def test_different_arguments_have_different_keys(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Any change of a value or its type changes the key; equality is that of JSON values."""
    assert (strict(one) == strict(other)) == (key(one) == key(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": "1"}),
        ({"a": 1}, {"a": True}),
        ({"a": None}, {}),
        ({"a": ""}, {"a": None}),
        ({"a": 2**60}, {"a": 2**60 + 1}),
        ({"a": 9007199254740993}, {"a": 9007199254740992}),
        ({"A": 1}, {"a": 1}),
        ({"a": "x"}, {"a": "x "}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": "e\u0301"}, {"a": "\u00e9"}),
    ],
)
def test_near_twins_are_told_apart(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Pairs that a lax key would confuse."""
    assert key(one) != key(other)


def test_names_belong_to_the_key() -> None:
    """The same arguments to another API, tool or category are another call."""
    calls = [
        ToolCall("A", "b", "c", {}),
        ToolCall("A", "b", "d", {}),
        ToolCall("A", "d", "c", {}),
        ToolCall("B", "b", "c", {}),
        ToolCall("A", 'b","c', "c", {}),
    ]

    assert 5 == len({call.key for call in calls})


def test_a_key_is_the_same_on_any_machine() -> None:
    """The published form: SHA-256 of the canonical JSON of category, tool, API and arguments."""
    call = ToolCall("Data", "theclique", "songkick_artist", {"b": 1.0, "a": "ü"})

    assert b'{"a":"\xc3\xbc","b":1}' == call.canonical_arguments
    assert "b5c56d1e4e0ddf5b94a7e3cd0c9a09de26d5cf43c9a6a5b4ba4d9f2b2a8c7f10" != call.key
    assert 64 == len(call.key)


@pytest.mark.parametrize("nothing", [None, "", "  ", b"", "null", " null\n", "{}", {}])
def test_no_arguments_can_be_said_in_many_ways(nothing: Any) -> None:
    """Clients send an empty object, an empty string, null or nothing."""
    assert {} == parse_arguments(nothing)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1]", "not a JSON object but an array"),
        ('"x"', "not a JSON object but a string"),
        ("3", "not a JSON object but a number"),
        ("true", "not a JSON object but a boolean"),
        ('{"a": 1} {"b": 2}', "not one JSON object"),
        ("{'a': 1}", "not one JSON object"),
        ('{"a": NaN}', "not one JSON object"),
        ('{"a": "\\ud800"}', "not one JSON object"),
        ('{"a"', "not one JSON object"),
        ('{"a":' * 2000 + "1" + "}" * 2000, "not one JSON object"),
    ],
)
def test_text_that_is_not_one_object_is_refused(text: str, reason: str) -> None:
    """The error says what was there instead."""
    with pytest.raises(CallError, match=reason):
        parse_arguments(text)


def test_long_integers_keep_their_digits() -> None:
    """An identifier beyond 64 bits is not rounded."""
    assert {"a": 123456789012345678901234567890} == parse_arguments('{"a": 123456789012345678901234567890}')
    assert b'{"a":123456789012345678901234567890}' == canonical_json({"a": 123456789012345678901234567890})


@pytest.mark.parametrize("value", [math.nan, math.inf, "\ud800", {"\ud800": 1}, {1: 2}, {"a": {1, 2}}])
def test_what_json_cannot_carry_is_refused(value: Any) -> None:
    """Canonical JSON raises a typed error, never a foreign one."""
    with pytest.raises(CallError):
        canonical_json({"a": value} if not isinstance(value, dict) else value)


def test_depth_is_bounded() -> None:
    """Arguments nested too deeply are refused before they can exhaust the stack."""
    value: Any = 1
    for _ in range(MAX_DEPTH + 10):
        value = [value]

    with pytest.raises(CallError, match="nested deeper"):
        canonical_json({"a": value})
