"""Model calls that are paid for once: a reply is on disk before the next is asked for, and used again.

A trial goes on with a reply while it is being written; a crash costs it one call at most. When a trial is
repeated after a crash, its requests are the same as before, so each finds its reply here by the request's
hash and by how often the trial has asked it already.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stb_agents.environment.blame import shape_of
from stb_core.errors import UnreadableReplyError
from stb_core.llm.protocol import Model, Reply, Request
from stb_core.store.group_commit import GroupCommit
from stb_core.store.runs import JournalEntry
from stb_core.store.shielded import ShieldedTasks
from stb_core.usage import Usage

if TYPE_CHECKING:
    from stb_core.store import Store

_UNREADABLE = "stb:unreadable"
"""In the place of a reason to finish: of a reply that was paid for and is not what was asked for."""

Replies = dict[tuple[str, int], Reply]
"""(request hash, occurrence) → reply."""


class _Entry(Reply):
    """A reply as the journal holds it, with the shape of its request; "" in journals from before it was kept."""

    shape: str = ""


def _entry(reply: Reply, request: Request) -> str:
    return _Entry(**dict(reply), shape=shape_of(request)).model_dump_json()


class Journal:
    """The journal of one run."""

    def __init__(self, store: Store, run: str, tasks: ShieldedTasks) -> None:
        self._store = store
        self._run = run
        self._tasks = tasks
        self._commits: GroupCommit[JournalEntry, None] = GroupCommit(self._write, tasks)
        self._is_new: bool | None = None
        self._look = asyncio.Lock()

    async def replies(self, group: str, query_id: str, trial: int) -> Replies:
        """What was answered in a trial, by earlier sessions of the run."""
        if await self._began_empty():
            return {}
        reading = self._store.runs.journalled(self._run, group, query_id, trial)
        found = await self._tasks.finish(reading)
        return {place: Reply.model_validate_json(text) for place, text in found.items()}

    async def shapes(self) -> set[str]:
        """The shapes of the requests that were answered, by earlier sessions too."""
        return set() if await self._began_empty() else await self._tasks.finish(self._read_shapes())

    async def _began_empty(self) -> bool:
        async with self._look:  # all trials begin at once: one look is enough for them
            if self._is_new is None:
                self._is_new = not await self._tasks.finish(self._store.runs.has_journal(self._run))
        return self._is_new

    async def _read_shapes(self) -> set[str]:
        replies = self._store.runs.journalled_replies(self._run)
        return {shape async for text in replies if (shape := _Entry.model_validate_json(text).shape)}

    def begin(self, entry: JournalEntry) -> asyncio.Future[None]:
        """Have an entry written; see ``GroupCommit.begin``."""
        return self._commits.begin(entry)

    async def _write(self, entries: Sequence[JournalEntry]) -> list[None]:
        await self._store.runs.journal(self._run, entries)
        return [None] * len(entries)


class JournalledModel:
    """A model whose replies in one trial are written down, and given again without asking."""

    def __init__(self, model: Model, journal: Journal, trial: tuple[str, str, int], known: Replies) -> None:
        self._model = model
        self._journal = journal
        self._trial = trial
        self._known = known
        self._asked: Counter[str] = Counter()
        self._unwritten: list[asyncio.Future[None]] = []
        self._failed: JournalEntry | None = None
        """The last reply, where it was of no use: on record if the trial goes on all the same."""

    @property
    def name(self) -> str:
        """``PROVIDER/MODEL``."""
        return self._model.name

    async def complete(self, request: Request) -> Reply:
        """See ``Model``; raises StoreError when an earlier reply cannot be written."""
        if self._failed:
            self._unwritten.append(self._journal.begin(self._failed))
            self._failed = None
        await self.settle()
        digest = request.hash
        place = (digest, self._asked[digest])
        self._asked[digest] += 1
        if place in self._known:
            return _given(self._known[place])
        try:
            reply = await self._model.complete(request)
        except UnreadableReplyError as problem:
            lost = Reply(content=problem.reply, finish_reason=_UNREADABLE, usage=problem.usage or Usage())
            self._failed = JournalEntry(*self._trial, *place, _entry(lost, request))
            raise
        entry = JournalEntry(*self._trial, *place, _entry(reply, request))
        self._unwritten.append(self._journal.begin(entry))
        return reply

    async def settle(self) -> None:
        """Wait until every reply so far is on disk.

        Raises:
            StoreError: one cannot be written.
        """
        while self._unwritten:
            await self._unwritten.pop()


def _given(reply: Reply) -> Reply:
    if reply.finish_reason == _UNREADABLE:
        text = reply.content or ""
        raise UnreadableReplyError(
            "The reply is not what was asked for.", reply=text, usage=reply.usage, hint="Use another model."
        )
    return reply


async def spent_usd(store: Store, run: str) -> float:
    """What the replies of a run have cost so far, as far as it is known."""
    spent = 0.0
    async for text in store.runs.journalled_replies(run):
        spent += Reply.model_validate_json(text).usage.cost_usd or 0.0
    return spent
