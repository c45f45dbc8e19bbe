"""Differences between arguments and between bodies."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from stb_server.inspector.diffs import MAX_LINES, compare_arguments, compare_lines, read_arguments

ARGUMENTS = st.dictionaries(st.text(max_size=3), st.one_of(st.integers(), st.text(max_size=3), st.none()))


def test_arguments_are_compared_one_by_one() -> None:
    """Same, changed, added and removed, each with both sides; a value and its text are not the same."""
    found = compare_arguments({"a": 1, "b": "x", "d": 1}, {"a": 1, "b": "y", "c": 2, "d": "1"})

    assert [
        ("a", "same", "1", "1"),
        ("b", "changed", '"x"', '"y"'),
        ("c", "added", "", "2"),
        ("d", "changed", "1", '"1"'),
    ] == [(c.name, c.kind, c.before, c.after) for c in found]
    assert ["removed"] == [change.kind for change in compare_arguments({"a": 1}, {})]


@settings(deadline=None)
@given(ARGUMENTS, ARGUMENTS)
def test_equal_arguments_have_no_changes(one: dict[str, Any], other: dict[str, Any]) -> None:
    """And different ones have some."""
    changed = any(change.kind != "same" for change in compare_arguments(one, other))

    assert (one != other) == changed


def test_arguments_that_are_no_object_are_none() -> None:
    """Whatever the store holds, a page can be made."""
    assert [{}, {}, {}] == [read_arguments(raw) for raw in (None, b"[1]", b"{broken")]


def test_bodies_are_compared_line_by_line() -> None:
    """JSON is laid out first; long equal parts are folded."""
    before = {"error": "", "response": {str(n): n for n in range(30)}}
    after = {"error": "", "response": {str(n): n if n != 20 else 0 for n in range(30)}}

    found = compare_lines(orjson.dumps(before), orjson.dumps(after))

    assert (1, 1, False) == (found.added, found.removed, found.is_cut)
    assert ['    "20": 20,', '    "20": 0,'] == [
        line.text for line in found.lines if line.kind in {"removed", "added"}
    ]
    assert "skip" == found.lines[0].kind


def test_long_bodies_are_compared_in_part() -> None:
    """And the page says so."""
    found = compare_lines(orjson.dumps(list(range(5_000))), orjson.dumps(list(range(9_000))))

    assert found.is_cut
    assert len(found.lines) <= 2 * MAX_LINES
