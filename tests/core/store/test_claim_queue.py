"""Processes that do the same work do each piece once, wait for each other, and take over what the dead leave behind."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from collections import Counter
from contextlib import AbstractAsyncContextManager

import pytest
import sqlalchemy as sa

from stb_core.store import ClaimQueue, Store, WorkPlace, claim_once, claim_queue, open_queue, schema
from stb_core.store.work import DONE, TRIAL
from stb_core.values.manifest import Manifest

PLACE = WorkPlace("r", TRIAL)
ITEMS = {f"item {n}": n for n in range(30)}


@pytest.fixture(autouse=True)
async def _run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_queue, "POLL_S", 0.01)
    await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {"G": ["1"]})


@pytest.fixture
def dead_mark() -> str:
    """The mark of a process on this machine that has ended."""
    code = "from stb_core.values import processes; print(processes.make_mark())"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


async def none_left() -> list[str]:
    return []


async def work(store: Store, done: Counter[str], *, named: bool = False, slots: int = 4) -> ClaimQueue:
    """Do pieces until none is left."""
    async with open_queue(store.work, PLACE, ITEMS, none_left, slots=slots, named=named) as queue:

        async def slot() -> None:
            while claim := await queue.next():
                done[claim.item] += 1
                await asyncio.sleep(0.001)
                queue.count(claim, kept=bool(await store.work.end([claim.ended(DONE)])))

        await asyncio.gather(*(slot() for _ in range(slots)))
    return queue


@pytest.mark.parametrize("named", [False, True])
async def test_each_piece_is_done_once(store: Store, named: bool) -> None:
    """By whichever of four workers; all of them end when the last piece has ended, and nothing is left behind."""
    done: Counter[str] = Counter()

    queues = await asyncio.gather(*(work(store, done, named=named) for _ in range(4)))

    assert done == dict.fromkeys(ITEMS, 1)
    assert (sum(queue.done for queue in queues), sum(queue.late for queue in queues)) == (30, 0)
    assert await store.work.left(PLACE) == set()
    assert await store.work.workers() == []


async def test_who_comes_second_knows_that_it_joins(store: Store) -> None:
    """And the first does not; other parts of the work are other work."""
    async with (
        open_queue(store.work, PLACE, {}, none_left, slots=1, part="a") as first,
        open_queue(store.work, PLACE, {}, none_left, slots=1, part="a") as second,
        open_queue(store.work, PLACE, {}, none_left, slots=1, part="b") as other,
    ):
        assert (len(first.others), len(second.others), len(other.others)) == (0, 1, 0)


async def test_a_piece_that_is_given_back_goes_to_who_waits(store: Store) -> None:
    """A worker with nothing to do waits until all pieces have ended."""
    done: Counter[str] = Counter()
    async with open_queue(store.work, PLACE, ITEMS, none_left, slots=1) as stopped:
        claim = await stopped.next()
        assert claim
        waiting = asyncio.create_task(work(store, done))
        while len(done) < len(ITEMS) - 1:  # noqa: ASYNC110 - the store calls nobody
            await asyncio.sleep(0.01)
        assert not waiting.done()
    await waiting

    assert done == dict.fromkeys(ITEMS, 1)


@pytest.mark.parametrize("is_here", [True, False])
async def test_what_the_dead_held_is_done_by_others(store: Store, dead_mark: str, is_here: bool) -> None:
    """At once where it is seen that the process is gone, else when the lease has ended."""
    owner = dead_mark if is_here else ("B" if dead_mark[0] == "A" else "A") + dead_mark[1:]
    await store.work.put(PLACE, ITEMS, none_left)
    await store.work.register(PLACE, "", owner, 8)
    assert len(await store.work.claim(PLACE, owner, 8)) == 8
    if not is_here:
        async with store.writing() as connection:
            await connection.execute(schema.work.update().values(until=0.0))
    done: Counter[str] = Counter()

    await work(store, done)

    assert done == dict.fromkeys(ITEMS, 1)


async def test_claims_are_renewed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before they end; what was lost and not begun is not handed out."""
    monkeypatch.setattr(claim_queue, "BEAT_S", 0.01)
    until = sa.select(schema.work.c.until).where(schema.work.c.owner != "")
    async with open_queue(store.work, PLACE, ITEMS, none_left, slots=4) as queue:
        claim = await queue.next()
        assert claim
        async with store.reading() as connection:
            before = await connection.scalar(until)
        after = before
        while after == before:
            async with store.reading() as connection:
                after = await connection.scalar(until)
            await asyncio.sleep(0.01)

    assert claim_queue.BEAT_S * 3 < claim_queue.LEASE_S


async def test_drained_work_is_left(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paused work waits; drained work ends although pieces are left."""
    monkeypatch.setattr(claim_queue, "BEAT_S", 0.01)

    async def set_mode(mode: str) -> None:
        await store.work.set_mode(PLACE, "", mode)

    async with open_queue(store.work, PLACE, ITEMS, none_left, slots=1) as queue:
        assert await queue.next()
        await set_mode("paused")
        while queue.mode != "paused":  # noqa: ASYNC110 - the store calls nobody
            await asyncio.sleep(0.01)
        waiting = asyncio.create_task(queue.next())
        await asyncio.wait([waiting], timeout=0.2)
        assert not waiting.done()
        await set_mode("go")
        assert await waiting
        await set_mode("drained")
        while not queue.is_drained:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert await queue.next() is None

    assert await store.work.left(PLACE) == set(ITEMS)


async def test_what_is_done_once_is_done_by_one(store: Store) -> None:
    """Others wait for it; it is done again only where that is wanted, and when it failed."""
    asked: list[bool] = []

    async def ask(*, again: bool) -> None:
        async with claim_once(store.work, PLACE, "anchors", since=math.inf if again else 0.0) as is_mine:
            asked.append(is_mine)
            await asyncio.sleep(0.02)

    await asyncio.gather(*(ask(again=False) for _ in range(3)))
    await ask(again=False)
    await ask(again=True)
    with pytest.raises(ZeroDivisionError):
        async with claim_once(store.work, PLACE, "anchors", since=math.inf):
            _ = 1 / 0
    await ask(again=False)

    assert sorted(asked[:3]) == [False, False, True]
    assert asked[3:] == [False, True, True]


async def test_what_one_has_done_is_not_done_again_by_those_who_began_with_it(store: Store) -> None:
    """Whoever comes first does it, also for the process that began first; a later one does it again."""
    said: list[bool] = []

    def queue() -> AbstractAsyncContextManager[ClaimQueue]:
        return open_queue(store.work, PLACE, ITEMS, none_left, slots=1, named=True)

    async def ask(one: ClaimQueue) -> None:
        async with claim_once(store.work, PLACE, "anchors", since=one.began_at) as is_mine:
            said.append(is_mine)

    async with queue() as first, queue() as second:
        await ask(second)
        await ask(first)
    async with queue() as later:
        await ask(later)

    assert (second.began_at, said) == (first.began_at, [True, False, True])
