"""The writer acknowledges what is on disk, in few transactions, and says when it failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.errors import StoreError
from stb_core.store import Store
from stb_server.cache.store_writer import StoreWriter
from virtual_server import put_weather, recorded


@pytest.fixture
async def writer(store: Store) -> AsyncGenerator[StoreWriter]:
    """A writer of a store, on each database."""
    started = StoreWriter(store, timeout_s=20)
    yield started
    await started.close()


async def test_what_waits_goes_into_one_transaction(writer: StoreWriter, store: Store) -> None:
    """A hundred answers at once are a hundred responses and a few commits."""
    dataset = await put_weather(store)

    kept = await asyncio.gather(*(writer.keep(dataset.id, recorded({"n": n})) for n in range(100)))

    assert all(k.is_new for k in kept)
    assert 100 == (await store.datasets.get("weather")).responses_count
    assert writer.transactions <= 5


async def test_of_many_answers_to_one_call_all_callers_get_the_one_in_force(
    writer: StoreWriter, store: Store
) -> None:
    """The store's unique key decides."""
    dataset = await put_weather(store)

    kept = await asyncio.gather(*(writer.keep(dataset.id, recorded({}, b"%d" % n)) for n in range(20)))

    assert 1 == len({k.response.body for k in kept})
    assert 1 == sum(k.is_new for k in kept)


async def test_work_that_fails_takes_nothing_else_with_it(writer: StoreWriter, store: Store) -> None:
    """An answer for a dataset that is gone is refused, the others of its transaction are kept."""
    dataset = await put_weather(store)

    outcomes = await asyncio.gather(
        *(writer.keep(place, recorded({"n": n})) for n, place in enumerate([dataset.id, 999, dataset.id])),
        return_exceptions=True,
    )

    assert [False, True, False] == [isinstance(outcome, StoreError) for outcome in outcomes]
    assert 2 == (await store.datasets.get("weather")).responses_count


async def test_what_waits_is_written_before_it_stops(store: Store) -> None:
    """Closing finishes what was accepted."""
    dataset = await put_weather(store)
    writer = StoreWriter(store, timeout_s=20)
    waiting = [asyncio.create_task(writer.keep(dataset.id, recorded({"n": n}))) for n in range(10)]
    await asyncio.sleep(0)

    await writer.close()

    assert all(task.done() for task in waiting)
    assert 10 == (await store.datasets.get("weather")).responses_count


async def test_items_of_one_kind_are_done_at_once_and_each_gets_its_result(store: Store) -> None:
    """What waits is grouped by kind, in order; work without a kind is done by itself."""
    writer = StoreWriter(store, timeout_s=20)
    done: list[object] = []

    async def double(_: AsyncConnection, items: Sequence[int]) -> list[int]:
        done.append(list(items))
        return [2 * item for item in items]

    async def alone(_: AsyncConnection) -> str:
        done.append("alone")
        return "one"

    waiting = [
        asyncio.create_task(work)
        for work in (
            writer.do_together("even", 2, double),
            writer.do(alone),
            writer.do_together("odd", 3, double),
            writer.do_together("even", 4, double),
        )
    ]
    await asyncio.sleep(0)
    results = await asyncio.gather(*waiting)
    await writer.close()

    assert [4, "one", 6, 8] == results
    assert [[2, 4], "alone", [3]] == done
