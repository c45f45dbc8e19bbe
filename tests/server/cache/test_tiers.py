"""The memory cache holds what was used last, within its budget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stb_core.values.provenance import Provenance
from stb_server.cache.cached_answer import CachedAnswer
from stb_server.cache.tiers import MemoryCache


def entry(size: int = 10) -> CachedAnswer:
    return CachedAnswer.create(b"x" * size, Provenance.RECORDED)


def test_what_was_used_longest_ago_is_dropped() -> None:
    """A look-up counts as use."""
    cache = MemoryCache(max_bytes=1100)
    cache.put(1, "a", entry())
    cache.put(1, "b", entry())
    cache.get(1, "a")

    cache.put(1, "c", entry())

    assert [True, False, True] == [cache.get(1, key) is not None for key in "abc"]


def test_datasets_do_not_share_entries() -> None:
    """The same call of another dataset is another entry."""
    cache = MemoryCache(max_bytes=10_000)
    cache.put(1, "a", entry())

    assert cache.get(2, "a") is None


def test_a_simulated_answer_is_never_called_recorded() -> None:
    """Served again from the cache it is ``recorded-simulated``; a captured one is ``recorded``."""
    served = [CachedAnswer.create(b"", p).provenance for p in (Provenance.SIMULATED, Provenance.LIVE)]

    assert [Provenance.RECORDED_SIMULATED, Provenance.RECORDED] == served


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2000))))
def test_the_budget_is_kept_and_the_books_are_right(puts: list[tuple[int, int]]) -> None:
    """Whatever is put in, the size is that of what is held, and at most the budget."""
    cache = MemoryCache(max_bytes=4000)

    for key, size in puts:
        cache.put(1, str(key), entry(size))

    held = [cache.get(1, str(key)) for key in range(10)]
    assert cache.size_bytes == sum(len(e.body) + 500 for e in held if e)
    assert cache.size_bytes <= 4000
