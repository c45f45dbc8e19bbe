"""Work that is finished even when whoever waits for it is stopped: reads and writes of the store.

A connection that is cut off in the middle of a statement is lost, and a write whose waiter is gone
should still be whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Shelter:
    """Keeps tasks until they are done."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start work; nobody needs to wait for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits sees it; asyncio is not to complain when nobody does

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Start work and wait for it; it goes on when the waiting is cancelled."""
        return await asyncio.shield(self.begin(work))

    async def empty(self) -> None:
        """Wait until all that was begun is done."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
