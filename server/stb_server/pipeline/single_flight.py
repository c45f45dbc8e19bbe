"""Single flight: identical requests at the same time, in all processes, are done once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from stb_server.pipeline.fetch_locks import Locks, holding

T = TypeVar("T")

_LANDING_S = 5.0


class SingleFlight(Generic[T]):
    """Runs work by name; a request for work that is already under way gets the same result."""

    def __init__(self, locks: Locks | None) -> None:
        """Make an empty set of flights.

        Args:
            locks: keep other processes from doing the same work; None if they may do it too.
        """
        self._locks = locks
        self._under_way: dict[str, asyncio.Task[T]] = {}
        self.counts: Counter[str] = Counter()
        """Requests that ``led``, that ``joined`` one under way, that ``waited`` for another process."""

    def __len__(self) -> int:
        return len(self._under_way)

    async def close(self) -> None:
        """Cancel all work under way, and wait some seconds at most until it has cleaned up."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_LANDING_S)

    async def share(self, name: str, work: Callable[[bool], Awaitable[T]]) -> T:
        """The result of the work of this name, which is done once for all requests that come meanwhile.

        Args:
            name: identifies the work.
            work: does it; gets whether this process waited for another that did the same.
        """
        task = self._under_way.get(name)
        if task is None:
            self.counts["led"] += 1
            task = asyncio.create_task(self._run(name, work))
            self._under_way[name] = task
            task.add_done_callback(lambda _: self._under_way.pop(name, None))
        else:
            self.counts["joined"] += 1
        # A caller that is cancelled must not cancel the work of the others.
        return await asyncio.shield(task)

    async def _run(self, name: str, work: Callable[[bool], Awaitable[T]]) -> T:
        if self._locks is None:
            return await work(False)
        async with holding(self._locks, name) as waited:
            self.counts["waited"] += waited
            return await work(waited)
