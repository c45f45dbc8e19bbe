"""What one worker process holds while it serves: the store, the tiers of its cache, its queues."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import AsyncExitStack

from stb_core.errors import NotFoundError, StoreError
from stb_core.store.datasets import Dataset
from stb_core.store.snapshots import Snapshot
from stb_core.values.provenance import CacheMode, Provenance
from stb_server.cache.tiers import MemoryCache, Recorded
from stb_server.calls.answers import Answer, Asked
from stb_server.calls.catalogue import Catalogue
from stb_server.calls.identify import Refusal, identify
from stb_server.calls.protocol import BadRequestError, VirtualRequest, encode_answer
from stb_server.pipeline import modes
from stb_server.pipeline.fault_injection import Faults
from stb_server.pipeline.modes import READING, RECORDING
from stb_server.worker.dataset_views import Lane, Names, Wanted
from stb_server.worker.metrics import RequestTimes
from stb_server.worker.options import ServerOptions
from stb_server.worker.rate_limit import RateLimit
from stb_server.worker.resources import Parts, open_parts

_log = logging.getLogger(__name__)

_MAX_LANES = 256
_WORTH_SHARING = 1 / 8
"""Share of a dataset's responses that must be new before workers share answers by its new hash."""


class Service:
    """Opens, holds and closes the parts of one worker."""

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.memory = MemoryCache(options.memory_bytes)
        self.faults = Faults(options.faults) if options.faults else None
        self.times = RequestTimes()
        self.rate_limit = RateLimit(options.rate_limit) if options.rate_limit else None
        self.lanes: dict[Wanted, Lane] = {}
        self._names: dict[str, Names] = {}
        self._parts: Parts | None = None
        self._open = AsyncExitStack()
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
            UsageError: a real API or the simulator is not configured as it must be.
        """
        try:
            self._parts = await open_parts(self.options, self.memory, self.look, self._open)
            await self.lane(Wanted())
        except BaseException:
            await self._open.aclose()
            raise
        self._open.push_async_callback(_cancel, asyncio.create_task(self._watch_forever()))

    async def end_flights(self) -> None:
        """End the work that outlives the requests it was begun for; it needs the store until then."""
        await asyncio.gather(*(pipeline.flights.close() for pipeline in self.parts.pipelines.values()))

    async def close(self) -> None:
        """Write what is queued and close everything."""
        await self._open.aclose()

    async def lane(self, wanted: Wanted) -> Lane:
        """The lane for requests with these headers, opened on first use.

        Raises:
            BadRequestError: there is no such dataset, mode or snapshot, or the mode needs what the
                server lacks.
            StoreError: the store cannot be read.
        """
        lane = self.lanes.get(wanted)
        if lane is None:
            async with self._opening:
                lane = self.lanes.get(wanted) or await self._open_lane(wanted)
        return lane

    async def call(self, lane: Lane, request: VirtualRequest, episode: str = "") -> tuple[Answer, str]:
        """The answer to a request in a lane, and the key of the call; "" where it means no call.

        Raises:
            StoreError: as ``answer``.
        """
        call = identify(request, lane.names.catalogue)
        if isinstance(call, Refusal):
            return Answer(encode_answer(call.message), Provenance.MISS, error=call.kind), ""
        return await self.answer(lane, lane.asked(call, request.toolbench_key), episode), call.key

    async def answer(self, lane: Lane, asked: Asked, episode: str = "") -> Answer:
        """The answer to a call in a lane, with the faults that are to hit it.

        Args:
            lane: where the call goes.
            asked: the call.
            episode: the episode with whose earlier calls the answer is to agree; empty for none.

        Raises:
            StoreError: the store does not answer, or did not take what had to be written.
        """
        if self.faults is None:
            return await self._answer(lane, asked, episode)
        fault = await self.faults.before(asked)
        return fault or self.faults.after(asked, await self._answer(lane, asked, episode))

    async def _answer(self, lane: Lane, asked: Asked, episode: str) -> Answer:
        if not episode:
            return await lane.pipeline.answer(asked)
        parts = self.parts
        recorded = Recorded(parts.tiers, growing=lane.mode in RECORDING) if lane.mode in READING else None
        return await parts.episodes.answer(asked, episode, recorded=recorded, answer=lane.pipeline.answer)

    async def _open_lane(self, wanted: Wanted) -> Lane:
        mode = self._mode(wanted.mode)
        names = await self._names_of(wanted.dataset or self.options.dataset)
        snapshot = await self._snapshot(names, wanted.snapshot) if wanted.snapshot else None
        lane = Lane.of(names, mode, self.parts.pipelines[mode], snapshot)
        if self.faults:
            lane = lane.without_reading()
        if len(self.lanes) >= _MAX_LANES:
            self.lanes.clear()
        self.lanes[wanted] = lane
        return lane

    def _mode(self, name: str) -> CacheMode:
        try:
            mode = CacheMode(name.lower()) if name else self.options.mode
        except ValueError:
            modes_there = ", ".join(CacheMode)
            raise BadRequestError(
                400, "unknown_mode", f"There is no mode {name[:80]!r}. There are: {modes_there}."
            ) from None
        if mode not in self.parts.pipelines:
            raise BadRequestError(400, "mode_unavailable", modes.why_not(mode))
        return mode

    async def _names_of(self, name: str) -> Names:
        names = self._names.get(name)
        if names is None:
            store = self.parts.store
            try:
                dataset = await store.datasets.get(name)
            except NotFoundError:
                raise BadRequestError(
                    404, "unknown_dataset", f"There is no dataset {name[:80]!r} here."
                ) from None
            in_force = await store.snapshots.in_force(dataset.id)
            names = self._names[name] = Names(dataset, await Catalogue.load(store, dataset), in_force)
        return names

    async def _snapshot(self, names: Names, content_hash: str) -> Snapshot:
        store = self.parts.store
        snapshot = await store.snapshots.get(names.dataset.id, content_hash)
        if snapshot is None:
            in_force = {dataset.id: dataset.responses_hash for dataset in await store.datasets.all()}
            if in_force.get(names.dataset.id) == content_hash:
                taken = await store.snapshots.take(names.dataset.id)
                snapshot = taken if taken.hash == content_hash else None
        if snapshot is None:
            raise BadRequestError(
                404,
                "unknown_snapshot",
                f"Dataset {names.dataset.name} has no snapshot {content_hash[:80]!r}.",
            )
        return snapshot

    async def _watch_forever(self) -> None:
        while True:
            await asyncio.sleep(self.options.watch_interval_s)
            with contextlib.suppress(StoreError):  # what needs the store says so by itself
                await self.look()

    async def look(self) -> None:
        """Take note of what other processes changed: datasets that are new, gone, or in a new state."""
        there = {dataset.name: dataset for dataset in await self.parts.store.datasets.all()}
        async with self._opening:
            for name, names in list(self._names.items()):
                dataset, old = there.get(name), names.dataset
                if dataset is not None and _state(dataset) == _state(old) and not _outgrew(dataset, old):
                    continue
                _log.info("a dataset changed", extra={"dataset": name})
                del self._names[name]
                for wanted, lane in list(self.lanes.items()):
                    if lane.names is names:
                        del self.lanes[wanted]


def _state(dataset: Dataset) -> tuple[int, str, str, int]:
    """What must be equal for requests to be answered from what this worker knows of a dataset."""
    return dataset.id, dataset.created_at, dataset.content_hash, dataset.changes


def _outgrew(dataset: Dataset, old: Dataset) -> bool:
    """Whether so much was recorded since that it is worth sharing, though all start to share anew."""
    return dataset.responses_count - old.responses_count > old.responses_count * _WORTH_SHARING


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
