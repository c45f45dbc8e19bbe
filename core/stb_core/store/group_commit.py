"""Group commit: what is to be written while a write is under way goes into one transaction after it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from stb_core.store.shielded import Shelter

T = TypeVar("T")


class GroupCommit(Generic[T]):
    """Writes items in batches; whoever begins one may wait until it is on disk."""

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[None]], shelter: Shelter) -> None:
        self._write = write
        self._shelter = shelter
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._is_writing = False

    def begin(self, item: T) -> asyncio.Future[None]:
        """Have an item written; what is given is done when it is on disk, and cancelling stops nothing.

        It holds a ``StoreError`` if it cannot be written.
        """
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((item, written))
        if not self._is_writing:
            self._is_writing = True
            self._shelter.begin(self._write_all())
        return written

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._write_batch(batch)
        finally:
            self._is_writing = False

    async def _write_batch(self, batch: list[tuple[T, asyncio.Future[None]]]) -> None:
        problem: Exception | None = None
        try:
            await self._write([item for item, _ in batch])
        except Exception as caught:  # noqa: BLE001 - whoever waits is told, whatever it is
            problem = caught
        for _, written in batch:
            if written.done():  # whoever waited was stopped
                continue
            if problem:
                written.set_exception(problem)
                written.exception()  # not everyone waits, which is no reason to complain
            else:
                written.set_result(None)
