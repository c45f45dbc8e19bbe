"""A dataset is copied as it is, or with fewer queries, another order or fewer responses."""

from __future__ import annotations

from pathlib import Path

import pytest

from stb_core.errors import NotFoundError
from stb_core.store.database import sqlite_url
from stb_core.values.queries import Query
from stb_experiments.originals import Original, read_original, write_copy
from virtual_server import WEATHER, recorded

QUERIES = tuple(
    Query(query_id=str(n), group=g, text="?", apis=()) for g in ("G1_tool", "G2_category") for n in range(5)
)
ORIGINAL = Original(
    "weather", "0" * 64, "", (WEATHER,), QUERIES, (recorded({"city": "Oslo"}), recorded({"city": "Rome"}))
)


async def test_a_copy_of_a_copy_is_the_same(tmp_path: Path) -> None:
    """Tools, queries, responses and hashes go through a store unchanged."""
    first, second = (sqlite_url(tmp_path / name) for name in ("a.db", "b.db"))
    await write_copy(ORIGINAL, first)
    copied = await read_original(first, "weather")
    await write_copy(copied, second)
    again = await read_original(second, "")

    assert (copied.tools, copied.queries, copied.responses_hash) == (
        again.tools,
        again.queries,
        again.responses_hash,
    )
    assert [r.body for r in ORIGINAL.responses] == [r.body for r in again.responses]


def test_a_limit_is_one_for_each_group() -> None:
    """The first queries of every group remain."""
    assert [("G1_tool", "0"), ("G2_category", "0")] == [
        (q.group, q.query_id) for q in ORIGINAL.with_groups("", 1).queries
    ]


def test_shuffling_loses_nothing_and_repeats() -> None:
    """The same seed gives the same other order."""
    shuffled = ORIGINAL.shuffled(1)

    assert shuffled == ORIGINAL.shuffled(1)
    assert shuffled.queries != ORIGINAL.queries
    assert set(shuffled.queries) == set(ORIGINAL.queries)


def test_an_unknown_group_is_refused() -> None:
    """The message names those that are there."""
    with pytest.raises(NotFoundError, match="G1_tool, G2_category"):
        ORIGINAL.with_groups("G9")
