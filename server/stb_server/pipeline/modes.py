"""The pipelines of the cache modes, put together from the parts that a server has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from stb_core.values.provenance import CacheMode
from stb_server.cache.keep import StoreKeeper
from stb_server.cache.store_writer import Replacing, StoreWriter
from stb_server.cache.tiers import Recorded, Tiers
from stb_server.calls.answers import Answer, Layer
from stb_server.pipeline.fetch_locks import Locks
from stb_server.pipeline.pipeline import ChatWithUser, MissLog, Pipeline
from stb_server.pipeline.single_flight import Flights

READING = frozenset({CacheMode.REPLAY, CacheMode.SIMULATE, CacheMode.AUTO})
"""Modes in which a recording answers first."""
RECORDING = frozenset(CacheMode) - {CacheMode.REPLAY, CacheMode.LIVE}
"""Modes that keep what they get."""
_NEEDS_UPSTREAM = frozenset({CacheMode.RECORD, CacheMode.LIVE})
_REPLACING = {CacheMode.RECORD: Replacing.SIMULATED, CacheMode.REFRESH: Replacing.ANYTHING}


@dataclass(frozen=True)
class Workshop:
    """What pipelines are made of."""

    tiers: Tiers
    writer: StoreWriter
    locks: Locks
    misses: MissLog
    upstream: Layer | None
    simulator: Layer | None
    changed: Callable[[], Awaitable[None]]
    """Called when an answer in force was replaced."""


def pipelines(workshop: Workshop) -> dict[CacheMode, Pipeline]:
    """The pipeline of every mode that the server can work in with the parts it has."""
    made: dict[CacheMode, Pipeline] = {}
    for mode in CacheMode:
        if mode in _NEEDS_UPSTREAM and workshop.upstream is None:
            continue
        if mode is CacheMode.REFRESH and not _far(mode, workshop):
            continue
        made[mode] = _pipeline(mode, workshop)
    return made


def why_not(mode: CacheMode) -> str:
    """What a server lacks that cannot work in a mode."""
    if mode in _NEEDS_UPSTREAM:
        return f"Mode {mode.value} needs a real API, and none is configured."
    return f"Mode {mode.value} needs a real API or a simulator, and there is neither."


def _pipeline(mode: CacheMode, workshop: Workshop) -> Pipeline:
    recorded: list[Layer] = []
    if mode in READING:
        recorded = [Recorded(workshop.tiers, growing=mode in RECORDING)]
    keeper = None
    if mode in RECORDING:
        replacing = _REPLACING.get(mode, Replacing.NOTHING)
        keeper = StoreKeeper(workshop.writer, workshop.tiers, replacing, workshop.changed)
    return Pipeline(
        [*recorded, ChatWithUser()],
        _far(mode, workshop),
        flights=Flights[Answer](workshop.locks if keeper else None),
        keeper=keeper,
        misses=workshop.misses,
    )


def _far(mode: CacheMode, workshop: Workshop) -> Sequence[Layer]:
    layers: list[Layer | None] = []
    if mode not in {CacheMode.REPLAY, CacheMode.SIMULATE}:
        layers.append(workshop.upstream)
    if mode in {CacheMode.SIMULATE, CacheMode.AUTO, CacheMode.REFRESH}:
        layers.append(workshop.simulator)
    return [layer for layer in layers if layer is not None]
