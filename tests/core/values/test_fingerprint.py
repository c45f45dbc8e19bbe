"""A fingerprint stands for a set, whatever the order of changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stb_core.values.fingerprint import Fingerprint, response_element

elements = st.lists(st.binary(max_size=6), unique=True, max_size=12)


@given(elements, st.randoms())
def test_order_does_not_matter(members: list[bytes], rng: object) -> None:
    """Adding the same elements in another order gives the same hash."""
    one, other = Fingerprint(), Fingerprint()
    shuffled = list(members)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]

    for member in members:
        one.add(member)
    for member in shuffled:
        other.add(member)

    assert one.hash == other.hash


@given(elements, elements)
def test_different_sets_have_different_hashes(one: list[bytes], other: list[bytes]) -> None:
    """The hash is the same exactly when the sets are."""
    first, second = Fingerprint(), Fingerprint()

    for member in one:
        first.add(member)
    for member in other:
        second.add(member)

    assert (set(one) == set(other)) == (first.hash == second.hash)


@given(elements, st.binary(max_size=6))
def test_removing_undoes_adding(members: list[bytes], extra: bytes) -> None:
    """Also when the state was stored and read back in between."""
    plain = Fingerprint()
    for member in members:
        plain.add(member)

    changed = Fingerprint(Fingerprint(plain.state).add(extra).state).remove(extra)

    assert plain.state == changed.state


def test_an_empty_set_has_a_hash() -> None:
    """No state and a state of nothing are the same."""
    assert Fingerprint().hash == Fingerprint(b"").hash == Fingerprint(Fingerprint().state).hash


def test_each_part_of_a_response_counts() -> None:
    """Another key, origin or body is another element."""
    found = {
        response_element("k", "recorded", b"body"),
        response_element("j", "recorded", b"body"),
        response_element("k", "simulated", b"body"),
        response_element("k", "recorded", b"bodi"),
    }

    assert 4 == len(found)
