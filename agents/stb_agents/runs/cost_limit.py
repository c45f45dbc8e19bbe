"""``--max-cost`` of a run: one limit for all its processes and sessions; the run stops before it costs more.

A process reserves a slice of the limit in the store and spends it without asking again. With each reply it writes down
what it has spent. So what a process had spent that died is known, and what it had reserved is free for others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

from stb_agents.environment import RunStopped
from stb_core.errors import StoreError
from stb_core.llm import CostLimit, CostLimitedModel, CostLimitReached, Reply, Request
from stb_core.store import CostShare, JournalEntry, Paid, ShieldedTasks, Store

_log = logging.getLogger(__name__)

POLL_S = 0.5
"""How often a process that has reserved all it can looks whether others have given something back."""
IDLE_S = 1.0
"""A process that begins no call for so long gives back what it has reserved."""


class RunCostLimit(CostLimit):
    """What this process may spend of the limit of a run. Get one with ``open_limit``.

    ``spent_usd`` is what this process has spent.
    """

    def __init__(self, limit_usd: float, store: Store, run: str, owner: str) -> None:
        super().__init__(limit_usd)
        self._store, self._run, self._owner = store, run, owner
        self._tasks = ShieldedTasks()
        self._row = asyncio.Lock()
        """Held while the row of this process in the store is written."""
        self._may_spend_usd = 0.0
        """As that row says, beside what was spent since it was written."""
        self._recorded_usd = 0.0
        """The part of ``spent_usd`` that the row tells of."""
        self._share = CostShare(0.0, 0.0)
        self._refused_at = -POLL_S
        self._refused: tuple[float, int] | None = None
        """What was spent and under way when nothing more could be reserved."""
        self._n_asked = 0
        self._giving_back: asyncio.Task[None] | None = None

    async def journal(self, entries: Sequence[JournalEntry]) -> None:
        """Write down replies, and what this process has spent, in one transaction.

        Raises:
            StoreError: they cannot be written.
        """
        async with self._row:
            paid = self._paid()
            self._may_spend_usd = await self._store.runs.journal(self._run, entries, paid)
            self._recorded_usd += paid.usd

    async def begin(self) -> None:
        """Count what the run has cost so far."""
        on_record_usd = await read_spent_usd(self._store, self._run)
        await self._tasks.finish(self._store.cost_shares.begin(self._run, self._owner, on_record_usd))

    async def _give_back_when_idle(self) -> None:
        while True:
            n_asked = self._n_asked
            await asyncio.sleep(IDLE_S)
            try:
                async with self._turn:
                    if n_asked == self._n_asked and self._may_spend_usd > self._reserved_usd:
                        await self._tasks.finish(self._reserve_in_store(0.0))
            except StoreError:
                _log.warning("a share of the limit cannot be given back", extra={"run": self._run})

    async def leave(self) -> None:
        """Give back what was not spent."""
        if self._giving_back:
            self._giving_back.cancel()
            await asyncio.gather(self._giving_back, return_exceptions=True)
        await self._tasks.wait_until_done()
        with suppress(StoreError):  # whoever goes on counts by the journal
            await self._store.cost_shares.leave(self._run, self._paid())

    async def _has_room(self, most_usd: float) -> bool:
        self._n_asked += 1
        if most_usd <= self._room_usd():
            return True
        state = (self.spent_usd, self._n_under_way)
        if state == self._refused and time.monotonic() - self._refused_at < POLL_S:
            return False  # of many slots that wait, one asks
        self._giving_back = self._giving_back or asyncio.create_task(self._give_back_when_idle())
        await self._tasks.finish(self._reserve_in_store(most_usd))
        has_room = most_usd <= self._room_usd()
        self._refused, self._refused_at = (None if has_room else state), time.monotonic()
        return has_room

    def _total_usd(self) -> float:
        # What others have reserved does not count: they may turn out to need less, and are waited for.
        return self._share.spent_usd

    async def _wait_for(self, changed: asyncio.Event) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await changed.wait()

    async def _reserve_in_store(self, most_usd: float) -> None:
        async with self._row:
            paid = self._paid()
            self._share = await self._store.cost_shares.reserve(
                self._run, paid, self._limit_usd, held_usd=self._reserved_usd, more_usd=most_usd
            )
            self._may_spend_usd = self._share.reserved_usd
            self._recorded_usd += paid.usd

    def _paid(self) -> Paid:
        return Paid(self._owner, self.spent_usd - self._recorded_usd)

    def _room_usd(self) -> float:
        """What calls may cost that begin now, without asking the store."""
        return self._may_spend_usd - self._paid().usd - self._reserved_usd


class RunCostLimitedModel(CostLimitedModel):
    """A model that is asked only while the limit of the run allows it."""

    async def complete(self, request: Request) -> Reply:
        """See ``CostLimitedModel``.

        Raises:
            RunStopped: the call could exceed the limit.
        """
        try:
            return await super().complete(request)
        except CostLimitReached as reached:
            raise RunStopped(str(reached)) from None


@asynccontextmanager
async def open_limit(limit_usd: float, store: Store, run: str, owner: str) -> AsyncGenerator[RunCostLimit]:
    """The limit of a run, with what it has cost so far counted against it.

    Args:
        limit_usd: the most that the run may cost, in USD, over all its processes and sessions.
        store: where the run is.
        run: its id.
        owner: the mark under which this process does trials of the run.

    Raises:
        StoreError: the store cannot be read or written.
    """
    limit = RunCostLimit(limit_usd, store, run, owner)
    await limit.begin()
    try:
        yield limit
    finally:
        await limit.leave()


async def read_spent_usd(store: Store, run: str) -> float:
    """What the replies of a run have cost so far, as far as their prices are known.

    Raises:
        StoreError: the journal of the run cannot be read.
    """
    spent_usd = 0.0
    async for text in store.runs.journalled_replies(run):
        spent_usd += Reply.model_validate_json(text).usage.cost_usd or 0.0
    return spent_usd
