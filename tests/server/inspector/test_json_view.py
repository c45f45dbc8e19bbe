"""JSON becomes a bounded list of rows."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stb_server.inspector.json_view import PageBudget, make_tokens, read_json, unfold

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=15,
)


def leaves(value: Any) -> int:
    if isinstance(value, dict | list) and value:
        return sum(leaves(item) for item in (value.values() if isinstance(value, dict) else value))
    return 1


@settings(deadline=None)
@given(VALUES)
def test_all_of_a_small_value_is_there(value: Any) -> None:
    """Every leaf has its row, and every container is closed."""
    found = make_tokens(value)

    kinds = [token.kind for token in found]
    assert leaves(value) == kinds.count("value")
    assert kinds.count("open") == kinds.count("close")


@settings(deadline=None)
@given(VALUES, st.integers(0, 20), st.integers(0, 50))
def test_a_budget_is_kept(value: Any, nodes: int, text: int) -> None:
    """No more rows than allowed, and still every container is closed."""
    found = make_tokens(value, PageBudget(nodes, text))

    kinds = [token.kind for token in found]
    assert kinds.count("value") + kinds.count("open") <= max(nodes, 0)
    assert kinds.count("open") == kinds.count("close")


def test_what_is_left_out_is_counted() -> None:
    """The rest of a long list, and of a long string."""
    listed = make_tokens(list(range(100)), PageBudget(nodes=11))
    (text,) = make_tokens("x" * 5_000)

    assert ("cut", 90) == (listed[-2].kind, listed[-2].count)
    assert (4_000, 1_000) == (len(text.text), text.count)


def test_text_that_holds_a_value_is_unfolded() -> None:
    """JSON, and Python's notation of a dict; other text stays text."""
    assert {"a": [1]} == unfold('{"a": [1]}')
    assert {"a": None, "b": True} == unfold("{'a': None, 'b': True}")
    assert "{not a value" == unfold("{not a value")
    assert (False, "plain") == read_json("plain")


def test_depth_is_bounded() -> None:
    """A value nested a thousand deep ends in an ellipsis."""
    value: Any = 1
    for _ in range(1_000):
        value = [value]

    found = make_tokens(value)

    assert "[…]" == next(token.text for token in found if token.kind == "value")
