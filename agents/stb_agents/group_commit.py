"""Group commit: what is to be written while a write is under way goes into one transaction after it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from stb_agents.shelter import Shelter
from stb_core.errors import StbError

T = TypeVar("T")


class GroupCommit(Generic[T]):
    """Writes items in batches; whoever adds one waits until it is on disk."""

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[None]], shelter: Shelter) -> None:
        self._write = write
        self._shelter = shelter
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._is_writing = False

    async def add(self, item: T) -> None:
        """Returns when the item is on disk; it gets there even if the waiting is cancelled.

        Raises:
            StoreError: it cannot be written.
        """
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((item, written))
        if not self._is_writing:
            self._is_writing = True
            self._shelter.begin(self._write_all())
        await written

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._write_batch(batch)
        finally:
            self._is_writing = False

    async def _write_batch(self, batch: list[tuple[T, asyncio.Future[None]]]) -> None:
        problem: StbError | None = None
        try:
            await self._write([item for item, _ in batch])
        except StbError as caught:
            problem = caught
        for _, written in batch:
            if written.done():  # whoever waited was stopped
                continue
            if problem:
                written.set_exception(problem)
            else:
                written.set_result(None)
