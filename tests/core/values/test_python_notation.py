"""Cache keys are read exactly as Python reads its own literals, and never evaluated."""

from __future__ import annotations

import ast
import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostile import LITERALS
from stb_core.errors import FormatError
from stb_core.values import python_notation
from stb_core.values.python_notation import parse_arguments_literal, parse_literal

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)
FRAGMENTS = [
    *(
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "'",
        "''",
        '"',
        " ",
        "\n",
        "\t",
        "\r",
        "\f",
        "\\",
        "(",
        ")",
        "#",
        "-",
        "+",
    ),
    *("True", "False", "None", "true", "false", "null", "inf", "nan", "NaN", "Infinity", "_", ".", "e", "E"),
    *("0", "1", "01", "-0", "1.0", "-0.0", "1e5", "1e400", "1e-400", "12345678901234567890", "1_0", "0x1"),
    *("'a'", "'b': ", "u'a'", "b'a'", "é", "\x00", "\x7f", "\u2028", "\ufeff", "{'a': ", "{'a': 1}"),
]


def exact(value: Any) -> Any:
    """A form in which values of different types, and 0.0 and -0.0, differ."""
    if isinstance(value, dict):
        return ("dict", [(exact(name), exact(member)) for name, member in value.items()])
    if isinstance(value, list | tuple):
        return (type(value).__name__, [exact(item) for item in value])
    if isinstance(value, float):
        return ("float", value.hex(), math.copysign(1, value))
    return (type(value).__name__, value)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_what_python_writes_is_read_back(arguments: dict[str, Any]) -> None:
    """Reading ``str(arguments)`` gives the arguments, type for type."""
    assert exact(arguments) == exact(parse_arguments_literal(str(arguments)))


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join))
def test_the_fast_way_never_disagrees(middle: str) -> None:
    """Whatever the fast reading accepts, ``ast.literal_eval`` reads as the same value."""
    text = "{'k': " + middle + "}"

    found = python_notation._parse_plain(text)

    assert found is None or exact(ast.literal_eval(text)) == exact(found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{'a'}",
        "{'a': 1",
        "{'a': f()}",
        "__import__('os').abort()",
        "{'a': __import__('os').abort()}",
        "{'a': true}",
        "{[]: 1}",
        "[" * 100_000,
        "{'a': '\x00'}",
        "x" * 1_000_001,
    ],
)
def test_what_is_not_a_dict_literal_is_refused(text: str) -> None:
    """Other text is refused, and nothing in it is run."""
    with pytest.raises(FormatError):
        parse_arguments_literal(text)


@pytest.mark.parametrize("text", LITERALS, ids=range(len(LITERALS)))
def test_any_text_is_a_value_or_one_error(text: str) -> None:
    """And a value can be written down again."""
    with suppress(FormatError):
        assert str(parse_literal(text))


@pytest.mark.parametrize("text", ["{[1]: 2}", "{{}}", "[" * 101 + "]" * 101, "{'a':" * 101 + "1" + "}" * 101])
def test_a_text_that_python_cannot_read_is_refused(text: str) -> None:
    """A key that cannot be one, and what is nested deeper than the bound, in either way of reading."""
    with pytest.raises(FormatError):
        parse_literal(text)


def test_the_bounds_are_in_reach() -> None:
    """A hundred levels, a million characters and 4,200 digits are read."""
    deep, long, large = "[" * 100 + "]" * 100, f"[{'1,' * 499_999}]", "9" * 4_200

    assert deep == str(parse_literal(deep))
    assert 499_999 == len(parse_literal(long))
    assert large == str(parse_literal(f"[{large}]")[0])


def test_every_real_key_reads_the_same_both_ways(real_data: Path) -> None:
    """All keys of the recorded release have the value that ``ast.literal_eval`` gives."""
    keys = [
        key
        for file in (real_data / "release" / "tool_response_cache").rglob("*.json")
        for key in json.loads(file.read_text())
    ]

    assert [exact(ast.literal_eval(key)) for key in keys] == [exact(parse_arguments_literal(k)) for k in keys]
