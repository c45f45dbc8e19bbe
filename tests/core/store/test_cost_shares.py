"""Processes of a run reserve parts of one limit: never more together than the limit, and nothing is lost with one."""

from __future__ import annotations

import asyncio

import pytest

from stb_core.store import CostShare, JournalEntry, Paid, Store, WorkPlace, schema
from stb_core.store.work import TRIAL
from stb_core.values.manifest import Manifest

REPLY = JournalEntry(group="G", query_id="1", trial=0, request_hash="h", occurrence=0, reply="{}")


@pytest.fixture(autouse=True)
async def _run(store: Store) -> None:
    """A run that processes "a", "b" and "c" do."""
    await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {"G": ["1"]})
    for owner in "abc":
        await store.work.register(WorkPlace("r", TRIAL), "", owner, 1)


async def reserve(
    store: Store, owner: str, more: float, *, limit: float = 100.0, paid: float = 0.0, held: float = 0.0
) -> CostShare:
    return await store.cost_shares.reserve("r", Paid(owner, paid), limit, held_usd=held, more_usd=more)


async def test_a_process_reserves_a_slice(store: Store) -> None:
    """Of a twentieth of the limit; a dearer call gets what it may cost; near the end others get their share."""
    assert await reserve(store, "a", 1.0) == CostShare(5.0, 0.0)
    assert await reserve(store, "b", 90.0, held=2.0) == CostShare(92.0, 0.0)
    assert await reserve(store, "c", 1.0) == CostShare(1.0, 0.0)
    assert await reserve(store, "a", 8.0, paid=4.0, held=1.0) == CostShare(1.0, 4.0)


async def test_what_is_reserved_and_spent_is_never_more_than_the_limit(store: Store) -> None:
    """Whoever asks at the same time."""
    shares = await asyncio.gather(*(reserve(store, owner, 30.0, limit=70.0) for owner in "abc"))

    assert sorted(share.reserved_usd for share in shares) == [0.0, 30.0, 30.0]


async def test_what_is_given_back_is_free_for_others(store: Store) -> None:
    """At once, whether the process goes on or leaves; what it has spent stays spent."""
    await reserve(store, "a", 60.0)
    await reserve(store, "b", 40.0)
    await reserve(store, "a", 0.0, paid=10.0)

    await store.cost_shares.leave("r", Paid("b", 5.0))

    assert await reserve(store, "c", 85.0) == CostShare(85.0, 15.0)
    assert await reserve(store, "a", 1.0) == CostShare(0.0, 15.0)


async def test_of_a_dead_process_counts_what_it_has_written_down(store: Store) -> None:
    """With its last reply; what it had reserved is free."""
    await reserve(store, "a", 90.0)
    may_spend = await store.runs.journal("r", [REPLY], Paid("a", 7.5))
    before = await reserve(store, "b", 20.0)
    async with store.writing() as connection:
        await connection.execute(schema.workers.delete().where(schema.workers.c.owner == "a"))

    assert (may_spend, before) == (82.5, CostShare(0.0, 7.5))
    assert await reserve(store, "b", 92.5) == CostShare(92.5, 7.5)


async def test_a_process_that_was_taken_for_dead_has_nothing_reserved(store: Store) -> None:
    """It is told so when it writes down its next reply, and nothing is counted twice."""
    await reserve(store, "a", 90.0)
    async with store.writing() as connection:
        await connection.execute(schema.cost_shares.delete().where(schema.cost_shares.c.owner == "a"))

    assert await store.runs.journal("r", [REPLY], Paid("a", 7.5)) == 0.0
    assert await reserve(store, "b", 1.0) == CostShare(5.0, 7.5)


async def test_what_the_journal_tells_of_is_counted_once(store: Store) -> None:
    """The processes that do the run have said what part of it is theirs."""
    await store.cost_shares.begin("r", "a", 20.0)
    await reserve(store, "a", 1.0, paid=10.0)
    await store.cost_shares.begin("r", "b", 30.0)
    both = await reserve(store, "b", 1.0)
    await store.cost_shares.begin("r", "c", 45.0)

    assert both.spent_usd == 30.0
    assert (await reserve(store, "c", 1.0)).spent_usd == 45.0
