"""Tries the store again and again, so that health and metrics tell of a fault before a user meets it."""

from __future__ import annotations

import asyncio

from stb_core.errors import StoreError
from stb_core.store import Dataset, Store

ANSWER_S = 1.5
"""Seconds that a check may take before the store counts as not answering."""


class StoreHealth:
    """Reads and writes every ``interval_s``. A check that hangs is left alone: none is started beside it."""

    def __init__(self, store: Store, interval_s: float) -> None:
        self._store = store
        self._interval_s = interval_s
        self._reading: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._loop: asyncio.Task[None] | None = None
        self.datasets: list[Dataset] = []
        """The datasets at the last successful read."""
        self.read_problem = ""
        """Why the last read failed; "" if it worked."""
        self.write_problem = ""
        """Why the last write failed; "" if it worked."""

    def start(self) -> None:
        """Start to check in the background."""
        self._loop = asyncio.create_task(self._check_forever())

    async def check(self) -> None:
        """Check now; returns after ``ANSWER_S`` at the latest, whatever hangs."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        _, hanging = await asyncio.wait({self._reading, self._writing}, timeout=ANSWER_S)
        if self._reading in hanging:
            self.read_problem = f"The store {self._store.place} did not answer within {ANSWER_S:g} s."
        if self._writing in hanging:
            self.write_problem = f"The store {self._store.place} did not write within {ANSWER_S:g} s."

    async def close(self) -> None:
        """Stop checking."""
        tasks = [task for task in (self._loop, self._reading, self._writing) if task and not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=ANSWER_S)

    async def _check_forever(self) -> None:
        while True:
            await self.check()
            await asyncio.sleep(self._interval_s)

    async def _read(self) -> None:
        try:
            self.datasets = await self._store.datasets.all()
        except StoreError as problem:
            self.read_problem = problem.message
        else:
            self.read_problem = ""

    async def _write(self) -> None:
        try:
            await self._store.try_write()
        except StoreError as problem:
            self.write_problem = problem.message
        else:
            self.write_problem = ""
