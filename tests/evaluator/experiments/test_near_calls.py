"""Near calls are other calls, however near; twins are the same call."""

from __future__ import annotations

import json
import random

from hypothesis import given
from hypothesis import strategies as st

from stb_core.values.calls import canonical_json, parse_arguments
from stb_experiments.near_calls import KINDS, exact_text, near_calls, same_json, twins

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
ARGUMENTS = st.dictionaries(st.text("abcé_", min_size=1, max_size=5), VALUES, max_size=4)


@given(ARGUMENTS, st.integers())
def test_no_near_call_has_the_key_of_its_original(arguments: dict[str, object], seed: int) -> None:
    """Every change of a value, a type or a name shows in the canonical JSON."""
    made = [changed for _, changed in near_calls(arguments, random.Random(seed))]

    assert all(canonical_json(changed) != canonical_json(arguments) for changed in made)


@given(ARGUMENTS)
def test_twins_have_the_key_of_their_original(arguments: dict[str, object]) -> None:
    """Order, white space and escapes of JSON do not show in the canonical JSON."""
    texts = [text for _, text in twins(arguments)]

    assert {canonical_json(arguments)} == {canonical_json(parse_arguments(text)) for text in texts}


@given(VALUES, VALUES)
def test_the_oracle_agrees_with_canonical_json(a: object, b: object) -> None:
    """Two values are the same exactly when their canonical JSON is, though neither knows of the other."""
    assert (canonical_json(a) == canonical_json(b)) == same_json(a, b)


def test_types_and_forms_of_numbers() -> None:
    """1 and "1" and true differ; 1 and 1.0 are one number, as RFC 8785 has it."""
    assert [False, False, True] == [same_json(1, "1"), same_json(1, True), same_json(1, 1.0)]
    assert exact_text({"b": [1.5], "a": None}) == exact_text(json.loads('{"a": null, "b": [1.5]}'))


def test_a_call_with_text_gives_every_kind() -> None:
    """A word, a number and a flag can be changed in each of the ways."""
    found = {kind for kind, _ in near_calls({"City": "São Paulo", "days": 3, "now": True}, random.Random(1))}

    assert set(KINDS) == found
