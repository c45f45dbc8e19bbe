"""What one worker process holds while it serves: the store, the tiers of its cache, its queues."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass

from stb_core.errors import NotFoundError, StoreError
from stb_core.store import Store, open_store
from stb_core.store.datasets import Dataset
from stb_server.cache import MemoryCache, Recorded
from stb_server.catalogue import Catalogue
from stb_server.misses import MissLedger
from stb_server.options import ServerOptions
from stb_server.pipeline import ChatWithUser, Pipeline
from stb_server.reader import Reader, open_reader

_log = logging.getLogger(__name__)

MAX_REMEMBERED = 65_536
"""Request bodies whose call is remembered, a lane."""


class Lane:
    """One dataset as this worker serves it; replaced as a whole when others change the dataset."""

    def __init__(self, dataset: Dataset, catalogue: Catalogue) -> None:
        self.dataset = dataset
        self.catalogue = catalogue
        self._keys: dict[bytes, str] = {}

    def remembered(self, digest: bytes) -> str | None:
        """The key of the call that the request body with this digest means, if it was seen before."""
        return self._keys.get(digest)

    def remember(self, digest: bytes, key: str) -> None:
        """Keep what a request body means; the oldest is forgotten when there are too many."""
        if len(self._keys) >= MAX_REMEMBERED:
            del self._keys[next(iter(self._keys))]
        self._keys[digest] = key


@dataclass(frozen=True)
class Parts:
    """What is open while a worker serves."""

    store: Store
    reader: Reader
    ledger: MissLedger
    pipeline: Pipeline


class Service:
    """Opens, holds and closes the parts of one worker."""

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.memory = MemoryCache(options.memory_bytes)
        self.lanes: dict[str, Lane] = {}
        self._parts: Parts | None = None
        self._watch: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()

    @property
    def parts(self) -> Parts:
        """The open parts."""
        assert self._parts, "the server has not started"
        return self._parts

    async def open(self) -> None:
        """Open the store and the default dataset, and start the background work.

        Raises:
            StoreError: the store cannot be opened.
            NotFoundError: the default dataset is not there.
        """
        store = await open_store(self.options.database_url)
        reader = await open_reader(store)
        ledger = MissLedger(store, self.options.flush_interval_s)
        pipeline = Pipeline((Recorded(self.memory, reader), ChatWithUser()), ledger)
        self._parts = Parts(store, reader, ledger, pipeline)
        await self.lane(self.options.dataset)
        ledger.start()
        self._watch = asyncio.create_task(self._watch_forever())

    async def close(self) -> None:
        """Write what is queued and close everything."""
        if self._watch:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        parts = self.parts
        try:
            await parts.ledger.close()
        except StoreError as problem:
            _log.error("misses are lost", extra={"queued": parts.ledger.queued, "reason": str(problem)})
        finally:
            await parts.reader.close()
            await parts.store.close()

    async def lane(self, name: str) -> Lane:
        """The lane of a dataset, opened on first use.

        Raises:
            NotFoundError: there is no such dataset.
            StoreError: the store cannot be read.
        """
        lane = self.lanes.get(name)
        if lane is None:
            async with self._opening:
                lane = self.lanes.get(name) or await self._open_lane(name)
        return lane

    async def _open_lane(self, name: str) -> Lane:
        store = self.parts.store
        dataset = await store.datasets.get(name)
        self.lanes[name] = lane = Lane(dataset, await Catalogue.load(store, dataset))
        return lane

    async def _watch_forever(self) -> None:
        while True:
            await asyncio.sleep(self.options.watch_interval_s)
            with contextlib.suppress(StoreError):  # what needs the store says so by itself
                await self.look()

    async def look(self) -> None:
        """Take note of what other processes changed: datasets that are new, gone, or have new content."""
        there = {dataset.name: dataset for dataset in await self.parts.store.datasets.all()}
        for name, lane in list(self.lanes.items()):
            dataset = there.get(name)
            if dataset == lane.dataset:
                continue
            self.memory.clear()
            self.lanes.pop(name)
            with contextlib.suppress(NotFoundError):
                await self._open_lane(name)
