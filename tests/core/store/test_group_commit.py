"""Group commit: acknowledged when on disk, in few transactions, and nobody is left waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from stb_core.errors import StoreError
from stb_core.store.group_commit import LARGEST_GROUP, GroupCommit
from stb_core.store.shielded import ShieldedTasks


class Disk:
    """Writes numbers when it is free, and returns them doubled; some numbers fail."""

    def __init__(self, failures: dict[int, Exception] | None = None) -> None:
        self.is_free = asyncio.Event()
        self.is_free.set()
        self.groups: list[list[int]] = []
        self._failures = failures or {}

    async def write(self, items: Sequence[int]) -> list[int]:
        """Write all, or fail for the first that cannot be written."""
        await self.is_free.wait()
        for item in items:
            if item in self._failures:
                raise self._failures[item]
        self.groups.append(list(items))
        return [2 * item for item in items]


def commits_on(disk: Disk) -> GroupCommit[int, int]:
    """A writer of a disk."""
    return GroupCommit(disk.write, ShieldedTasks())


async def test_what_waits_is_written_together_and_each_gets_its_result() -> None:
    """One transaction for all that came before it began."""
    disk = Disk()
    commits = commits_on(disk)

    results = await asyncio.gather(*(commits.begin(number) for number in range(5)))

    assert [0, 2, 4, 6, 8] == results
    assert [[0, 1, 2, 3, 4]] == disk.groups
    assert (1, 5, 0) == (commits.transactions, commits.written, commits.failed)


async def test_what_comes_during_a_transaction_goes_into_the_next() -> None:
    """Order is kept, and nothing is acknowledged before its own transaction."""
    disk = Disk()
    disk.is_free.clear()
    commits = commits_on(disk)
    first = commits.begin(1)
    await asyncio.sleep(0)
    second = commits.begin(2)
    assert not first.done()
    disk.is_free.set()
    await second

    assert [[1], [2]] == disk.groups


async def test_a_group_has_a_largest_size() -> None:
    """More items than that take more transactions."""
    disk = Disk()
    commits = commits_on(disk)

    await asyncio.gather(*(commits.begin(number) for number in range(LARGEST_GROUP + 1)))

    assert [LARGEST_GROUP, 1] == [len(group) for group in disk.groups]


async def test_one_bad_item_does_not_take_the_others_with_it() -> None:
    """A group that the store refuses is tried item by item."""
    disk = Disk({2: StoreError("There is no such dataset.")})
    commits = commits_on(disk)

    results = await asyncio.gather(*(commits.begin(n) for n in (1, 2, 3)), return_exceptions=True)

    assert [2, 6] == [results[0], results[2]]
    assert isinstance(results[1], StoreError)
    assert (2, 1) == (commits.written, commits.failed)


async def test_a_store_that_is_away_fails_for_all_at_once() -> None:
    """No item of the group is tried again, which would take each a time-out."""
    away = StoreError("The store did not answer.")
    away.__cause__ = TimeoutError()
    disk = Disk({1: away})
    commits = commits_on(disk)

    results = await asyncio.gather(*(commits.begin(n) for n in (1, 2)), return_exceptions=True)

    assert [away, away] == results
    assert [] == disk.groups


async def test_any_error_reaches_all_who_wait() -> None:
    """Also one of no known kind; the next write is tried."""
    problem = RuntimeError("never seen before")
    disk = Disk({1: problem})
    commits = commits_on(disk)

    results = await asyncio.gather(*(commits.begin(n) for n in (1, 2)), return_exceptions=True)

    assert [problem, problem] == results
    assert 6 == await commits.begin(3)


async def test_an_item_is_written_though_its_caller_is_gone() -> None:
    """``begin`` promises that."""
    disk = Disk()
    commits = commits_on(disk)
    commits.begin(1).cancel()

    await commits.begin(2)

    assert [[1, 2]] == disk.groups


async def test_an_item_that_nobody_waits_for_any_more_can_be_dropped() -> None:
    """``write`` drops it when the caller is cancelled before the transaction begins."""
    disk = Disk()
    disk.is_free.clear()
    commits = commits_on(disk)
    commits.begin(1)
    await asyncio.sleep(0)
    gone = asyncio.create_task(commits.write(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    disk.is_free.set()

    await commits.begin(3)

    assert [[1], [3]] == disk.groups


async def test_closing_writes_what_waits_and_refuses_more() -> None:
    """What was accepted before is on disk."""
    disk = Disk()
    commits = commits_on(disk)
    waiting = commits.begin(1)

    await commits.close()

    assert 2 == await waiting
    with pytest.raises(StoreError, match="is stopping"):
        commits.begin(2)


async def test_nobody_is_left_waiting_when_writing_is_cancelled() -> None:
    """Those who wait and those who come later get an error."""
    disk, tasks = Disk(), ShieldedTasks()
    disk.is_free.clear()
    commits: GroupCommit[int, int] = GroupCommit(disk.write, tasks)
    writing = commits.begin(1)
    await asyncio.sleep(0)
    waiting = commits.begin(2)

    await tasks.close(timeout_s=0)

    for written in (writing, waiting):
        with pytest.raises(StoreError, match="is stopping"):
            await written
    with pytest.raises(StoreError, match="is stopping"):
        commits.begin(3)
