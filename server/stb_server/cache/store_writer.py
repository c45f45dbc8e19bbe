"""Writes answers into the store: one writer a process, one transaction for all that wait.

A commit costs milliseconds however much it holds, so whatever is asked for while one is under way
goes into the next. What was acknowledged is on disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.errors import StoreError
from stb_core.store import Store
from stb_core.store.responses import Kept, Response
from stb_core.values.provenance import Provenance, Replacing

T = TypeVar("T")
Item = TypeVar("Item")

MAX_BATCH = 500
"""Pieces of work in one transaction."""


@dataclass(frozen=True)
class _Job:
    """A piece of work; one with an ``item`` is done together with all others of its ``kind``."""

    work: Callable[..., Awaitable[Any]]
    done: asyncio.Future[Any]
    kind: Hashable = None
    item: Any = None


class StoreWriter:
    """Takes work for the store and says when it is on disk."""

    def __init__(self, store: Store, timeout_s: float) -> None:
        """Make a recorder.

        Args:
            store: where it writes.
            timeout_s: how long a transaction may take before its work counts as not done.
        """
        self._store = store
        self._timeout_s = timeout_s
        self._jobs: asyncio.Queue[_Job | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._is_over = False
        self.transactions = 0
        self.written = 0
        self.failed = 0

    @property
    def queued(self) -> int:
        """Pieces of work that wait for the next transaction."""
        return self._jobs.qsize()

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._write_forever())

    async def close(self) -> None:
        """Finish what waits, then stop."""
        self._jobs.put_nowait(None)
        if self._task:
            await self._task

    async def keep(
        self, dataset_id: int, response: Response, replacing: Replacing = Replacing.NOTHING
    ) -> Kept:
        """Keep a response; returns the one now in force, which is on disk.

        Raises:
            StoreError: it could not be written, and nothing was kept.
        """
        if replacing is not Replacing.SIMULATED:
            kind = "keep", dataset_id, replacing

            async def keep_all(connection: AsyncConnection, responses: Sequence[Response]) -> list[Kept]:
                supersede = replacing is Replacing.ANYTHING
                return await self._store.responses.keep_within(
                    connection, dataset_id, responses, supersede=supersede
                )

            return await self.do_together(kind, response, keep_all)

        async def keep_one(connection: AsyncConnection) -> Kept:
            in_force, _ = await self._store.responses.known(connection, dataset_id, [response.key])
            old = in_force.get(response.key)
            supersede = old is not None and old.provenance is Provenance.SIMULATED
            (kept,) = await self._store.responses.keep_within(
                connection, dataset_id, [response], supersede=supersede
            )
            return kept

        return await self.do(keep_one)

    async def do(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do a piece of work within the next transaction; returns after its commit.

        Raises:
            StoreError: the transaction failed; none of it is done.
        """
        found: T = await self._put(_Job(work, asyncio.get_running_loop().create_future()))
        return found

    async def do_together(
        self,
        kind: Hashable,
        item: Item,
        work: Callable[[AsyncConnection, Sequence[Item]], Awaitable[Sequence[T]]],
    ) -> T:
        """As ``do``, for work that is cheaper for many items at once than for each.

        Args:
            kind: items of equal kinds are given to the work of the first of them, in order.
            item: what is to be done.
            work: does it for all items; gives a result for each.
        """
        found: T = await self._put(_Job(work, asyncio.get_running_loop().create_future(), kind, item))
        return found

    async def _put(self, job: _Job) -> Any:
        if self._is_over:
            raise _stopped()
        self._jobs.put_nowait(job)
        return await job.done

    async def _write_forever(self) -> None:
        stopping, jobs = False, list[_Job]()
        try:
            while not stopping:
                batch = [await self._jobs.get()]
                while len(batch) < MAX_BATCH and not self._jobs.empty():
                    batch.append(self._jobs.get_nowait())
                stopping = None in batch
                if jobs := [job for job in batch if job is not None and not job.done.cancelled()]:
                    await self._write(jobs)
        finally:  # whoever came too late must not wait for ever
            self._is_over = True
            while not self._jobs.empty():
                jobs += [job] if (job := self._jobs.get_nowait()) else []
            _settle(jobs, _stopped())

    async def _write(self, jobs: list[_Job]) -> None:
        try:
            results = await self._transaction(jobs)
        except StoreError as problem:
            if len(jobs) > 1 and not isinstance(problem.__cause__, OSError | TimeoutError):
                for job in jobs:  # one of them may be at fault: the others shall not suffer
                    await self._write([job])
                return
            self.failed += len(jobs)
            _settle(jobs, problem)
        except Exception as problem:  # noqa: BLE001 - a writer that ended would leave all callers waiting
            self.failed += len(jobs)
            _settle(jobs, problem)
        else:
            self.transactions += 1
            self.written += len(jobs)
            for job, result in zip(jobs, results, strict=True):
                if not job.done.done():
                    job.done.set_result(result)

    async def _transaction(self, jobs: list[_Job]) -> list[Any]:
        try:
            async with asyncio.timeout(self._timeout_s), self._store.writing() as connection:
                return await _do_all(connection, jobs)
        except TimeoutError as problem:
            raise StoreError(
                f"The store {self._store.place} did not answer within {self._timeout_s:g} s.",
                hint="See that it is running and reachable.",
            ) from problem


async def _do_all(connection: AsyncConnection, jobs: Sequence[_Job]) -> list[Any]:
    """The results of all jobs; those of one kind are done at the place of the first of them."""
    groups: dict[Hashable, list[int]] = {}
    for place, job in enumerate(jobs):
        groups.setdefault(job.kind or place, []).append(place)
    results: dict[int, Any] = {}
    for places in groups.values():
        first = jobs[places[0]]
        if first.kind is None:
            results[places[0]] = await first.work(connection)
        else:
            found = await first.work(connection, [jobs[place].item for place in places])
            results.update(zip(places, found, strict=True))
    return [results[place] for place in range(len(jobs))]


def _stopped() -> StoreError:
    return StoreError("The server is stopping; nothing was written.", hint="Ask again when it is back.")


def _settle(jobs: list[_Job], problem: Exception) -> None:
    for job in jobs:
        if not job.done.done():
            job.done.set_exception(problem)
