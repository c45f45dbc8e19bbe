"""One worker process: it opens its resources and datasets, and answers calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import AsyncExitStack

from stb_core.errors import NotFoundError, StoreError
from stb_core.store import Dataset, Snapshot
from stb_core.telemetry import remember_secrets
from stb_core.values import CacheMode, Provenance
from stb_server.cache import MemoryCache
from stb_server.calls import (
    Answer,
    BadRequestError,
    CallRequest,
    Catalogue,
    Layer,
    Refusal,
    VirtualRequest,
    encode_answer,
)
from stb_server.calls.identify import as_given, identify
from stb_server.pipeline import Faults, Pipeline
from stb_server.simulators import ModelSimulator, Presence
from stb_server.worker.clients import Client, Clients
from stb_server.worker.dataset_views import DatasetNames, DatasetView, ViewRequest
from stb_server.worker.metrics import RequestTimes
from stb_server.worker.options import ServerOptions
from stb_server.worker.pipelines import pipelines, recorded_layer, why_unavailable
from stb_server.worker.rate_limit import RateLimit
from stb_server.worker.resources import Resources, open_resources

_log = logging.getLogger(__name__)

_MAX_VIEWS = 256
_WORTH_SHARING = 1 / 8
"""Share of a dataset's responses that must be new before workers share answers by its new hash."""


class Worker:
    """Opens, holds and closes the resources of one worker, and answers calls with them."""

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        remember_secrets(options.token, options.write_token)
        self.memory = MemoryCache(options.memory_bytes)
        self.faults = Faults(options.faults) if options.faults else None
        self.times = RequestTimes()
        self.clients = Clients(options.token, options.tokens_file)
        self.rate_limit = RateLimit(options.rate_limit) if options.rate_limit else None
        self.views: dict[ViewRequest, DatasetView] = {}
        self._names: dict[str, DatasetNames] = {}
        self.pipelines: dict[CacheMode, Pipeline] = {}
        self._resources: Resources | None = None
        self._open = AsyncExitStack()
        self._opening = asyncio.Lock()

    @property
    def resources(self) -> Resources:
        """The open resources."""
        assert self._resources, "the server has not started"
        return self._resources

    async def open(self) -> None:
        """Open the store and the default dataset, and start the background work.

        Raises:
            StoreError: the store cannot be opened.
            NotFoundError: the default dataset is not there.
            UsageError: the configuration of a real API or of the simulator is wrong.
        """
        try:
            self._resources = await open_resources(self.options, self.memory, self.clients, self._open)
            self.pipelines = pipelines(self._resources, self.refresh_datasets)
            await self._look_for_simulator()
            await self.view(ViewRequest())
        except BaseException:
            await self._open.aclose()
            raise
        self._open.push_async_callback(_cancel, asyncio.create_task(self._watch_forever()))

    @property
    def mode(self) -> CacheMode:
        """What may answer a call whose request names no mode."""
        if self.options.follows_sources and (self.resources.upstream or self._simulator_is_there()):
            return CacheMode.AUTO
        return self.options.mode

    async def end_flights(self) -> None:
        """End work that outlives its requests, while the store is still open."""
        await asyncio.gather(*(pipeline.flights.close() for pipeline in self.pipelines.values()))

    async def close(self) -> None:
        """Write what is queued and close everything."""
        await self._open.aclose()

    async def view(self, request: ViewRequest) -> DatasetView:
        """The view for requests with these headers, opened on first use.

        Raises:
            BadRequestError: there is no such dataset, mode or snapshot, or the mode needs what the
                server lacks.
            StoreError: the store cannot be read.
        """
        view = self.views.get(request)
        if view is None:
            async with self._opening:
                view = self.views.get(request) or await self._open_view(request)
        return view

    def slow_down(self, client: Client, address: str, now: float) -> None:
        """Count a call against the limit of its client: its own, or else that of all.

        Raises:
            BadRequestError: it comes too early; the answer says when to try again.
        """
        try:
            if limit := client.limit or self.rate_limit:
                limit.check(client.name or address, now)
        except BadRequestError:
            self.count(client, "rate_limited")
            raise

    def admit(self, client: Client, mode: CacheMode) -> None:
        """Count a call in this mode, or refuse it.

        Raises:
            BadRequestError: the client may only read, and calls in this mode may be recorded or paid for.
        """
        if client.writes or mode.rules.is_frozen:
            self.count(client, "accepted")
            return
        self.count(client, "read_only")
        text = (
            f"{client.name} may only read, and calls in mode {mode} may be recorded. Send X-STB-Mode: replay."
        )
        raise BadRequestError(403, "read_only", text)

    def count(self, client: Client, outcome: str) -> None:
        """Count what became of a call of a client with a name."""
        if client.name:
            self.clients.counts[client.name, outcome] += 1

    async def call(
        self, view: DatasetView, request: VirtualRequest, episode: str = "", client: str = ""
    ) -> tuple[Answer, str]:
        """The answer to a request, and the key of the call; "" if the request means no call.

        Args:
            view: the dataset as the request sees it.
            request: the request.
            episode: as for ``answer``.
            client: the name of the client, for the ledger of misses.

        Raises:
            StoreError: as ``answer``.
        """
        call = identify(request, view.names.catalogue)
        if isinstance(call, Refusal):
            return Answer(encode_answer(call.message), Provenance.MISS, error=call.kind), ""
        call = await as_given(call, view.names.dataset.id, self.resources.store.datasets.api)
        return await self.answer(
            view, view.call_request(call, request.toolbench_key, client), episode
        ), call.key

    async def answer(self, view: DatasetView, request: CallRequest, episode: str = "") -> Answer:
        """The answer to a call, with the faults that are injected into it.

        Args:
            view: the dataset as the request sees it.
            request: the call.
            episode: the episode whose earlier calls the answer must agree with; empty for none.

        Raises:
            StoreError: the store does not answer, or an answer could not be written.
        """
        if self.faults is None:
            return await self._answer(view, request, episode)
        return await self.faults.apply(request, lambda: self._answer(view, request, episode))

    async def _answer(self, view: DatasetView, request: CallRequest, episode: str) -> Answer:
        if not episode:
            return await view.pipeline.answer(request)
        recorded = recorded_layer(view.mode.rules, self.resources)
        return await self.resources.episodes.answer(
            request, episode, recorded=recorded, answer=view.pipeline.answer
        )

    async def _open_view(self, request: ViewRequest) -> DatasetView:
        mode = self._mode(request.mode)
        names = await self._names_of(request.dataset or self.options.dataset)
        snapshot = await self._snapshot(names, request.snapshot) if request.snapshot else None
        view = DatasetView.create(names, mode, self.pipelines[mode], snapshot)
        if self.faults:
            view = view.without_reading()
        if len(self.views) >= _MAX_VIEWS:
            self.views.clear()
        self.views[request] = view
        return view

    def _mode(self, name: str) -> CacheMode:
        try:
            mode = CacheMode(name.lower()) if name else self.mode
        except ValueError:
            raise BadRequestError(
                400, "unknown_mode", f"There is no mode {name[:80]!r}. There are: {', '.join(CacheMode)}."
            ) from None
        if mode not in self.pipelines:
            raise BadRequestError(400, "mode_unavailable", why_unavailable(mode))
        return mode

    async def _names_of(self, name: str) -> DatasetNames:
        names = self._names.get(name)
        if names is None:
            store = self.resources.store
            try:
                dataset = await store.datasets.get(name)
            except NotFoundError:
                raise BadRequestError(
                    404, "unknown_dataset", f"There is no dataset {name[:80]!r} here."
                ) from None
            in_force = await store.snapshots.in_force(dataset.id)
            names = self._names[name] = DatasetNames(dataset, await Catalogue.load(store, dataset), in_force)
        return names

    async def _snapshot(self, names: DatasetNames, content_hash: str) -> Snapshot:
        store = self.resources.store
        snapshot = await store.snapshots.get(names.dataset.id, content_hash)
        if snapshot is None:
            in_force = {dataset.id: dataset.responses_hash for dataset in await store.datasets.all()}
            if in_force.get(names.dataset.id) == content_hash:
                newest = await store.snapshots.take(names.dataset.id)
                snapshot = newest if newest.hash == content_hash else None
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
            await self._look_for_simulator()
            self.clients.refresh()
            with contextlib.suppress(StoreError):  # calls that need the store report it themselves
                await self.refresh_datasets()

    async def _look_for_simulator(self) -> None:
        """Notice that a simulator was started or stopped, where it need not exist."""
        presence = _presence_of(self.resources.simulator)
        if presence and await presence.look():
            self.views.clear()  # those without a mode may have another one now
            _log.warning(
                "the simulator is there" if presence.is_there else "there is no simulator",
                extra={"hosts": ", ".join(presence.hosts), "mode": self.mode.value},
            )

    def _simulator_is_there(self) -> bool:
        presence = _presence_of(self.resources.simulator)
        return presence.is_there if presence else self.resources.simulator is not None

    async def refresh_datasets(self) -> None:
        """Forget what is known of datasets that other processes changed or deleted."""
        datasets = {dataset.name: dataset for dataset in await self.resources.store.datasets.all()}
        async with self._opening:
            for name, names in list(self._names.items()):
                dataset, old = datasets.get(name), names.dataset
                if dataset is not None and _state(dataset) == _state(old) and not _outgrew(dataset, old):
                    continue
                _log.info("a dataset changed", extra={"dataset": name})
                del self._names[name]
                for request, view in list(self.views.items()):
                    if view.names is names:
                        del self.views[request]


def _state(dataset: Dataset) -> tuple[int, str, str, int]:
    """What must not change if this worker is to go on answering from what it knows of a dataset."""
    return dataset.id, dataset.created_at, dataset.content_hash, dataset.changes


def _outgrew(dataset: Dataset, old: Dataset) -> bool:
    """Whether so much was recorded since that workers should start to share answers by the new hash."""
    return dataset.responses_count - old.responses_count > old.responses_count * _WORTH_SHARING


def _presence_of(simulator: Layer | None) -> Presence | None:
    return simulator.presence if isinstance(simulator, ModelSimulator) else None


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
