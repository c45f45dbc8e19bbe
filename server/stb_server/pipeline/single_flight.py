"""Single flight: any number of identical requests at once, over all processes, are one piece of work."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from stb_server.pipeline.fetch_locks import Locks, holding

T = TypeVar("T")

_LANDING_S = 5.0


class SingleFlight(Generic[T]):
    """Runs work by name; whoever asks for work that is under way gets its result."""

    def __init__(self, locks: Locks | None) -> None:
        """Make a set of flights.

        Args:
            locks: keep other processes from the same work; None if they may do it too.
        """
        self._locks = locks
        self._under_way: dict[str, asyncio.Task[T]] = {}
        self.counts: Counter[str] = Counter()
        """Requests that ``led``, that ``joined`` one under way, that ``waited`` for another process."""

    def __len__(self) -> int:
        return len(self._under_way)

    async def close(self) -> None:
        """End all work under way, and wait until it has tidied up, for some seconds at most."""
        flying = list(self._under_way.values())
        for task in flying:
            task.cancel()
        if flying:
            await asyncio.wait(flying, timeout=_LANDING_S)

    async def share(self, name: str, work: Callable[[bool], Awaitable[T]]) -> T:
        """The result of the work of this name, done once however many ask for it meanwhile.

        Args:
            name: what is to be done.
            work: does it; told whether another process did the same while we waited for it.
        """
        task = self._under_way.get(name)
        if task is None:
            self.counts["led"] += 1
            task = asyncio.create_task(self._fly(name, work))
            self._under_way[name] = task
            task.add_done_callback(lambda _: self._under_way.pop(name, None))
        else:
            self.counts["joined"] += 1
        # A caller that goes away must not take the work from the others.
        return await asyncio.shield(task)

    async def _fly(self, name: str, work: Callable[[bool], Awaitable[T]]) -> T:
        if self._locks is None:
            return await work(False)
        async with holding(self._locks, name) as waited:
            self.counts["waited"] += waited
            return await work(waited)
