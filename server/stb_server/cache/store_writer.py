"""Writes answers into the store: one writer per process, which commits in groups."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.errors import StoreError
from stb_core.store import GroupCommit, Kept, Response, ShieldedTasks, Store
from stb_core.values import Provenance
from stb_core.values.provenance import Replacing

T = TypeVar("T")
Item = TypeVar("Item")


@dataclass(frozen=True)
class _Job:
    """A piece of work; one with an ``item`` is done together with all others of its ``kind``."""

    work: Callable[..., Awaitable[Any]]
    kind: Hashable = None
    item: Any = None


class StoreWriter:
    """Takes work for the store and says when it is on disk."""

    def __init__(self, store: Store, timeout_s: float) -> None:
        """Make a writer.

        Args:
            store: where it writes.
            timeout_s: how long a transaction may take before its work counts as not done.
        """
        self._store = store
        self._timeout_s = timeout_s
        self.tasks = ShieldedTasks()
        self._commits: GroupCommit[_Job, Any] = GroupCommit(self._write, self.tasks)

    @property
    def queued(self) -> int:
        """Pieces of work that wait for the next transaction."""
        return self._commits.queued

    @property
    def transactions(self) -> int:
        """Transactions that were committed."""
        return self._commits.transactions

    @property
    def written(self) -> int:
        """Pieces of work that were done."""
        return self._commits.written

    @property
    def failed(self) -> int:
        """Pieces of work that the store refused."""
        return self._commits.failed

    async def close(self) -> None:
        """Finish the work that waits, and refuse more."""
        await self._commits.close()

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
            in_force, _ = await self._store.responses.load_known(connection, dataset_id, [response.key])
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
        result: T = await self._commits.write(_Job(work))
        return result

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
        result: T = await self._commits.write(_Job(work, kind, item))
        return result

    async def _write(self, jobs: Sequence[_Job]) -> list[Any]:
        try:
            async with asyncio.timeout(self._timeout_s), self._store.writing() as connection:
                return await _do_all(connection, jobs)
        except TimeoutError as problem:
            raise StoreError(
                f"The store {self._store.place} did not answer within {self._timeout_s:g} s.",
                hint="Check that it is running and reachable.",
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
