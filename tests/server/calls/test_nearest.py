"""The nearest recorded call: the most alike, the same on any machine."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from stb_server.calls.nearest import nearest

CANDIDATES = [("b", b'{"city":"Bonn"}'), ("a", b'{"city":"Bern"}'), ("c", b'{"zip":53111}')]


def test_the_most_alike_wins() -> None:
    """Arguments are compared as canonical text."""
    found = nearest(b'{"city":"Bonm"}', CANDIDATES)

    assert found
    assert ("b", b'{"city":"Bonn"}') == (found.key, found.arguments)


def test_of_equals_the_first_by_key_wins() -> None:
    """Two candidates that are equally alike are told apart by their keys."""
    found = nearest(b'{"n":3}', [("z", b'{"n":1}'), ("y", b'{"n":2}')])

    assert found
    assert found.key == "y"


def test_an_api_without_recordings_has_no_neighbour() -> None:
    """Nothing is nearest among nothing."""
    assert nearest(b"{}", []) is None


@given(st.lists(st.tuples(st.text(), st.binary(max_size=20)), unique_by=lambda c: c[0]), st.randoms())
def test_the_order_of_candidates_does_not_matter(
    candidates: list[tuple[str, bytes]], rng: random.Random
) -> None:
    """Any order of the same candidates gives the same neighbour, with a similarity in [0, 1]."""
    shuffled = rng.sample(candidates, len(candidates))

    found = nearest(b'{"a":1}', candidates)

    assert found == nearest(b'{"a":1}', shuffled)
    assert found is None or 0 <= found.similarity <= 1
