"""Group commit: what arrives while one transaction is under way is written together in the next.

A commit takes milliseconds however much it holds. Whatever was acknowledged is on disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from stb_core.errors import StoreError
from stb_core.store.shielded import ShieldedTasks

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

LARGEST_GROUP = 500
"""Items in one transaction."""


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[ItemT, ResultT]):
    item: ItemT
    written: asyncio.Future[ResultT]
    may_be_dropped: bool


class GroupCommit(Generic[ItemT, ResultT]):
    """Writes items in groups, one group at a time, in the order in which they came.

    Where the store refuses a group, each of its items is tried alone, so that one bad item does not
    take the others with it.
    """

    def __init__(
        self, write: Callable[[Sequence[ItemT]], Awaitable[Sequence[ResultT]]], tasks: ShieldedTasks
    ) -> None:
        """Make a writer.

        Args:
            write: writes a group in one transaction and returns a result for each item; any check that
                guards the transaction, as of a lease, belongs into it.
            tasks: keeps the writing task.
        """
        self._write = write
        self._tasks = tasks
        self._waiting: list[_Waiting[ItemT, ResultT]] = []
        self._writing: asyncio.Task[None] | None = None
        self._is_closed = False
        self.transactions = 0
        self.written = 0
        self.failed = 0

    @property
    def queued(self) -> int:
        """Items that wait for the next transaction."""
        return len(self._waiting)

    def begin(self, item: ItemT) -> asyncio.Future[ResultT]:
        """Have an item written, whatever becomes of the caller; the future is done when it is on disk.

        Nobody needs to wait for the future. It holds the error if the item cannot be written.

        Raises:
            StoreError: the writer is closed.
        """
        return self._put(item, may_be_dropped=False)

    async def write(self, item: ItemT) -> ResultT:
        """Have an item written and wait until it is on disk.

        When the caller is cancelled before the item's transaction begins, it is not written.

        Raises:
            StoreError: it cannot be written, or the writer is closed.
        """
        return await self._put(item, may_be_dropped=True)

    async def close(self) -> None:
        """Refuse further items, and wait until those that came before are written."""
        self._is_closed = True
        if self._writing:
            await asyncio.wait([self._writing])

    def _put(self, item: ItemT, *, may_be_dropped: bool) -> asyncio.Future[ResultT]:
        if self._is_closed:
            raise _closed()
        written: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(item, written, may_be_dropped))
        if self._writing is None:
            self._writing = self._tasks.begin(self._write_all())
        return written

    async def _write_all(self) -> None:
        group: list[_Waiting[ItemT, ResultT]] = []
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:LARGEST_GROUP], self._waiting[LARGEST_GROUP:]
                wanted = [w for w in group if not (w.may_be_dropped and w.written.cancelled())]
                if wanted:
                    await self._write_group(wanted)
        except BaseException:  # cancelled: nobody may be left waiting
            self._is_closed = True
            _fail([*group, *self._waiting], _closed())
            self._waiting.clear()
            raise
        finally:
            self._writing = None

    async def _write_group(self, group: Sequence[_Waiting[ItemT, ResultT]]) -> None:
        try:
            results = await self._write([waiting.item for waiting in group])
            pairs = list(zip(group, results, strict=True))
        except Exception as problem:  # noqa: BLE001 - whoever waits gets it, whatever it is
            if len(group) > 1 and _may_be_of_one_item(problem):
                for waiting in group:
                    await self._write_group([waiting])
                return
            self.failed += len(group)
            _fail(group, problem)
        else:
            self.transactions += 1
            self.written += len(group)
            for waiting, result in pairs:
                if not waiting.written.done():
                    waiting.written.set_result(result)


def _may_be_of_one_item(problem: Exception) -> bool:
    """Whether a group may have failed because of one of its items; a store that is away fails for all."""
    return isinstance(problem, StoreError) and not isinstance(problem.__cause__, OSError | TimeoutError)


def _fail(group: Sequence[_Waiting[ItemT, ResultT]], problem: Exception) -> None:
    for waiting in group:
        if not waiting.written.done():
            waiting.written.set_exception(problem)
            waiting.written.exception()  # not everyone waits, and asyncio should not complain about it


def _closed() -> StoreError:
    return StoreError(
        "The program is stopping; nothing was written.", hint="Try again when it is running again."
    )
