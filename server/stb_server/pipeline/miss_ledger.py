"""Records calls that nothing could answer: counts them in memory, writes them to the ledger in bulk.

Memory and ledger are bounded in calls and in bytes. What does not fit is counted as lost, and logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from stb_core import json_text
from stb_core.errors import StoreError
from stb_core.store import Miss, Store, bounded_arguments
from stb_core.values import ApiRef
from stb_server.calls import CallRequest, Neighbour, call_alone, recorded_arguments
from stb_server.calls.nearest import nearest

_log = logging.getLogger(__name__)

MAX_WAITING = 100_000
"""Distinct calls that may wait for the store; further new calls are counted as lost."""
CLOSING_S = 5.0
"""How long the store may take for the last misses when the server stops."""
MAX_WAITING_BYTES = 64_000_000
"""Bytes of arguments that may wait for the store."""


@dataclass(slots=True)
class _Waiting:
    ref: ApiRef
    arguments: bytes
    """As the ledger keeps them."""
    client: str = ""
    """The name of the client that made the call first."""
    count: int = 0


class MissLedger:
    """Collects misses and writes them every ``interval_s`` and on ``close``.

    Args:
        store: the store.
        interval_s: seconds between two writes.
        quotas: says how many different calls of a dataset a client may bring, by its name; called before each write.
    """

    def __init__(
        self, store: Store, interval_s: float, quotas: Callable[[], Mapping[str, int]] = dict
    ) -> None:
        self._store = store
        self._interval_s = interval_s
        self._quotas = quotas
        self._waiting: dict[int, dict[str, _Waiting]] = defaultdict(dict)
        self._awake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._bytes = 0
        self._logged = 0
        self.lost = 0
        """Calls that did not fit."""
        self.over_quota: Counter[str] = Counter()
        """Calls that were left out because their client had brought as many as it may, by its name."""

    @property
    def queued(self) -> int:
        """Distinct calls that wait to be written."""
        return sum(len(calls) for calls in self._waiting.values())

    def add(self, request: CallRequest) -> None:
        """Record a miss."""
        call = call_alone(request.call)
        calls, key = self._waiting[request.dataset.id], call.key
        waiting = calls.get(key)
        if waiting is None:
            if self.queued >= MAX_WAITING or self._bytes >= MAX_WAITING_BYTES:
                self.lost += 1
                return
            ref = ApiRef(call.category, call.tool, call.api)
            arguments = json_text.trim(bounded_arguments(call.canonical_arguments))
            waiting = calls[key] = _Waiting(ref, arguments, request.client)
            self._bytes += len(waiting.arguments)
        waiting.count += 1
        self._awake.set()

    def start(self) -> None:
        """Start to write in the background."""
        self._task = asyncio.create_task(self._write_forever())

    async def close(self) -> None:
        """Write all waiting misses, then stop; those that cannot be written in time are counted as lost."""
        self._stopping.set()
        self._awake.set()
        try:
            async with asyncio.timeout(CLOSING_S):
                if self._task:
                    await self._task
                await self.flush()
        except (StoreError, TimeoutError) as problem:
            reason = str(problem) or f"the store did not answer within {CLOSING_S:g} s"
            _log.error("misses are lost", extra={"queued": self.queued, "reason": reason})
            self.lost += self.queued

    async def flush(self) -> None:
        """Write all waiting misses now. Those that cannot be written keep waiting.

        Raises:
            StoreError: the store cannot be written.
        """
        for dataset_id in list(self._waiting):
            batch = self._waiting.pop(dataset_id)
            try:
                misses = await self._with_neighbours(dataset_id, batch)
                left_out = await self._store.misses.record(dataset_id, misses, self._quotas())
            except BaseException:
                self._put_back(dataset_id, batch)
                raise
            self._bytes -= sum(len(waiting.arguments) for waiting in batch.values())
            self.lost += left_out.lost
            self._count_over_quota(dataset_id, left_out.over_quota)
        if self.lost > self._logged:
            _log.warning(
                "misses were lost: too many at once, or the ledger is full", extra={"lost": self.lost}
            )
            self._logged = self.lost

    def _count_over_quota(self, dataset_id: int, over_quota: Mapping[str, int]) -> None:
        for name, count in over_quota.items():
            if not self.over_quota[name]:
                _log.warning(
                    "a client brings more misses than it may",
                    extra={"client": name, "dataset_id": dataset_id, "left_out": count},
                )
            self.over_quota[name] += count

    def _put_back(self, dataset_id: int, batch: dict[str, _Waiting]) -> None:
        for key, newer in self._waiting.pop(dataset_id, {}).items():
            older = batch.setdefault(key, newer)
            if older is not newer:
                older.count += newer.count
                self._bytes -= len(newer.arguments)
        self._waiting[dataset_id] = batch

    async def _with_neighbours(self, dataset_id: int, batch: dict[str, _Waiting]) -> list[Miss]:
        by_api: dict[ApiRef, list[tuple[str, _Waiting]]] = defaultdict(list)
        for key, waiting in sorted(batch.items()):
            by_api[waiting.ref].append((key, waiting))
        misses: list[Miss] = []
        for ref, waiting_calls in by_api.items():
            recorded = await recorded_arguments(self._store, dataset_id, ref)
            arguments = [waiting.arguments for _, waiting in waiting_calls]
            neighbours = await asyncio.to_thread(_nearest_of_each, arguments, recorded)
            misses += [
                _miss(key, ref, waiting, neighbour)
                for (key, waiting), neighbour in zip(waiting_calls, neighbours, strict=True)
            ]
        return misses

    async def _write_forever(self) -> None:
        while not self._stopping.is_set():
            await self._awake.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._interval_s)
            self._awake.clear()
            try:
                await self.flush()
            except StoreError as problem:
                _log.warning(
                    "misses wait for the store", extra={"queued": self.queued, "reason": str(problem)}
                )
                self._awake.set()


def _nearest_of_each(missed: list[bytes], recorded: list[tuple[str, bytes]]) -> list[Neighbour | None]:
    return [nearest(arguments, recorded) for arguments in missed]


def _miss(key: str, ref: ApiRef, waiting: _Waiting, neighbour: Neighbour | None) -> Miss:
    miss = Miss(key, *ref, arguments=waiting.arguments, count=waiting.count, client=waiting.client)
    if neighbour is None:
        return miss
    return replace(
        miss,
        nearest_key=neighbour.key,
        nearest_arguments=neighbour.arguments,
        nearest_similarity=neighbour.similarity,
    )
