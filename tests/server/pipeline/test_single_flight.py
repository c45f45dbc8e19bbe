"""Single flight: identical work is done once, over all processes, though the one who does it may die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

import services
from stb_core.errors import StoreError
from stb_core.store import Store
from stb_server.cache.redis_connection import RedisLink
from stb_server.cache.store_writer import StoreWriter
from stb_server.pipeline import fetch_locks
from stb_server.pipeline.fetch_locks import Locks, RedisLocks, StoreLocks, holding
from stb_server.pipeline.single_flight import SingleFlight


@pytest.fixture
async def writer(store: Store) -> AsyncGenerator[StoreWriter]:
    started = StoreWriter(store, timeout_s=20)
    yield started
    await started.close()


@pytest.fixture(params=["in the store", "in Redis"])
async def two_processes(
    request: pytest.FixtureRequest, store: Store, writer: StoreWriter
) -> AsyncGenerator[tuple[Locks, Locks]]:
    """The locks of two processes, each with links of its own."""
    in_store = StoreLocks(store, writer)
    if request.param == "in the store":
        yield in_store, StoreLocks(store, writer)
        return
    server: services.Redis = request.getfixturevalue("redis_server")
    links = [RedisLink(server.url, 30.0) for _ in range(2)]
    for link in links:
        await link.start()
    yield RedisLocks(links[0], in_store), RedisLocks(links[1], in_store)
    for link in links:
        await link.close()


async def test_those_who_ask_meanwhile_get_the_same_result() -> None:
    """One piece of work, however many ask for it; asked for later it is done anew."""
    flights = SingleFlight[int](None)
    done = 0

    async def work(_: bool) -> int:
        nonlocal done
        done += 1
        await asyncio.sleep(0.01)
        return done

    together = await asyncio.gather(*(flights.share("a", work) for _ in range(200)))
    later = await flights.share("a", work)

    assert [1] * 200 == together
    assert later == 2
    assert {"led": 2, "joined": 199} == dict(flights.counts)
    assert 0 == len(flights)


async def test_a_failure_is_everyones_and_is_not_remembered() -> None:
    """All who waited learn of it, and the next one tries again."""
    flights = SingleFlight[str](None)

    async def fail(_: bool) -> str:
        await asyncio.sleep(0.01)
        raise StoreError("gone")

    async def work(_: bool) -> str:
        return "done"

    outcomes = await asyncio.gather(*(flights.share("a", fail) for _ in range(3)), return_exceptions=True)

    assert [StoreError] * 3 == [type(outcome) for outcome in outcomes]
    assert "done" == await flights.share("a", work)


async def test_one_who_goes_away_leaves_the_work_to_the_others() -> None:
    """The first to ask is cancelled; the others still get the result."""
    flights = SingleFlight[str](None)

    async def work(_: bool) -> str:
        await asyncio.sleep(0.05)
        return "done"

    first = asyncio.create_task(flights.share("a", work))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(flights.share("a", work))
    await asyncio.sleep(0.01)
    first.cancel()

    assert "done" == await second


async def test_over_processes_one_works_and_the_others_wait(two_processes: tuple[Locks, Locks]) -> None:
    """The one that waited is told so."""
    at_work, most_at_work = 0, 0
    waits: list[bool] = []

    async def work(waited: bool) -> None:
        nonlocal at_work, most_at_work
        waits.append(waited)
        at_work += 1
        most_at_work = max(most_at_work, at_work)
        await asyncio.sleep(0.05)
        at_work -= 1

    await asyncio.gather(*(SingleFlight[None](lock).share("a", work) for lock in two_processes))

    assert 1 == most_at_work
    assert [False, True] == waits


async def test_other_names_do_not_wait(two_processes: tuple[Locks, Locks]) -> None:
    """A lock is for one call."""
    async with holding(two_processes[0], "a"), holding(two_processes[1], "b") as waited:
        assert not waited


async def test_the_lock_of_one_who_died_runs_out(
    two_processes: tuple[Locks, Locks], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for it goes on after the lock's time."""
    monkeypatch.setattr(fetch_locks, "LOCK_S", 2.0)
    started = asyncio.get_running_loop().time()
    assert await two_processes[0].take("a", "the dead one")

    async with holding(two_processes[1], "a") as waited:
        passed = asyncio.get_running_loop().time() - started

    assert waited
    assert passed > 1.9


async def test_a_lock_is_held_as_long_as_its_holder_lives(
    two_processes: tuple[Locks, Locks], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is renewed before its time is up."""
    monkeypatch.setattr(fetch_locks, "LOCK_S", 3.0)
    async with holding(two_processes[0], "a"):
        await asyncio.sleep(4)
        taken = await two_processes[1].take("a", "another")

    assert not taken
    assert await two_processes[1].take("a", "another")


async def test_without_redis_locks_are_in_the_store(
    store: Store, writer: StoreWriter, redis_server: services.Redis
) -> None:
    """A lock that was taken in Redis, then lost with it, stops nobody."""
    link = RedisLink(redis_server.url, 0.3)
    await link.start()
    ours, theirs = RedisLocks(link, StoreLocks(store, writer)), StoreLocks(store, writer)
    async with holding(ours, "a"):
        redis_server.kill()
        async with holding(ours, "b"):
            assert not await theirs.take("b", "another")
    await link.close()

    assert await theirs.take("b", "another")
