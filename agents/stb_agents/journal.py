"""Model calls that are paid for once: every reply is on disk before it is used, and used again later.

When a trial is repeated after a crash, its requests are the same as before, so each finds its reply
here by the request's hash and by how often the trial has asked it already.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from stb_agents.shelter import Shelter
from stb_core.errors import StbError
from stb_core.models import Model, Reply, Request
from stb_core.store.runs import JournalEntry

if TYPE_CHECKING:
    from stb_core.store import Store


class Journal:
    """The journal of one run; replies that arrive together are written together."""

    def __init__(self, store: Store, run: str, shelter: Shelter) -> None:
        self._store = store
        self._run = run
        self._shelter = shelter
        self._waiting: list[tuple[JournalEntry, asyncio.Future[None]]] = []
        self._is_writing = False

    async def replies(self, group: str, query_id: str, trial: int) -> dict[tuple[str, int], Reply]:
        """What was answered in a trial: (request hash, occurrence) → reply."""
        reading = self._store.runs.journalled(self._run, group, query_id, trial)
        found = await self._shelter.finish(reading)
        return {place: Reply.model_validate_json(text) for place, text in found.items()}

    async def write(self, entry: JournalEntry) -> None:
        """Returns when the entry is on disk.

        Raises:
            StoreError: it cannot be written.
        """
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, written))
        if not self._is_writing:
            self._is_writing = True
            self._shelter.begin(self._write_all())
        await written

    async def _write_all(self) -> None:
        """Write what waits, in one transaction, until nothing waits."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._write_batch(batch)
        finally:
            self._is_writing = False

    async def _write_batch(self, batch: list[tuple[JournalEntry, asyncio.Future[None]]]) -> None:
        problem: StbError | None = None
        try:
            await self._store.runs.journal(self._run, [entry for entry, _ in batch])
        except StbError as caught:
            problem = caught
        for _, written in batch:
            if written.done():  # whoever waited was stopped
                continue
            if problem:
                written.set_exception(problem)
            else:
                written.set_result(None)


class JournalledModel:
    """A model whose replies in one trial are written down, and given again without asking."""

    def __init__(
        self,
        model: Model,
        journal: Journal,
        trial: tuple[str, str, int],
        known: dict[tuple[str, int], Reply],
    ) -> None:
        self._model = model
        self._journal = journal
        self._trial = trial
        self._known = known
        self._asked: Counter[str] = Counter()

    @property
    def name(self) -> str:
        """``PROVIDER/MODEL``."""
        return self._model.name

    async def complete(self, request: Request) -> Reply:
        """See ``Model``."""
        digest = request.hash
        place = (digest, self._asked[digest])
        self._asked[digest] += 1
        if place in self._known:
            return self._known[place]
        reply = await self._model.complete(request)
        await self._journal.write(JournalEntry(*self._trial, *place, reply.model_dump_json()))
        return reply


async def spent_usd(store: Store, run: str) -> float:
    """What the replies of a run have cost so far, as far as it is known."""
    spent = 0.0
    async for text in store.runs.journalled_replies(run):
        spent += Reply.model_validate_json(text).usage.cost_usd or 0.0
    return spent
