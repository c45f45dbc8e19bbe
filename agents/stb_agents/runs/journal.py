"""The journal of a run: every reply of a model is stored, so that no call is paid for twice.

A reply is stored before its trial makes the next call; a crash costs a trial one call at most. When
a trial is repeated after a crash, it makes the same requests as before. Each finds its reply here by the
request's hash and by how often the trial has made that request already.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stb_core.errors import UnreadableReplyError
from stb_core.llm import Model, Reply, Request, shape_of
from stb_core.store import GroupCommit, JournalEntry, ShieldedTasks
from stb_core.usage import Usage

if TYPE_CHECKING:
    from stb_agents.runs.cost_limit import RunCostLimit
    from stb_core.store import Store

_UNREADABLE = "stb:unreadable"
"""The finish reason of a reply that was paid for and could not be read."""

Replies = dict[tuple[str, int], Reply]
"""(request hash, how often it was made before) → reply."""


class _Entry(Reply):
    """A reply as the journal stores it, with the shape of its request; "" in older journals."""

    shape: str = ""


def _entry(reply: Reply, request: Request) -> str:
    return _Entry(**dict(reply), shape=shape_of(request)).model_dump_json()


class Journal:
    """The journal of one run."""

    def __init__(
        self, store: Store, run: str, tasks: ShieldedTasks, limit: RunCostLimit | None = None
    ) -> None:
        self._store = store
        self._run = run
        self._tasks = tasks
        self._limit = limit
        self._commits: GroupCommit[JournalEntry, None] = GroupCommit(self._write, tasks)
        self._is_new: bool | None = None
        self._checking = asyncio.Lock()

    async def replies(self, group: str, query_id: str, trial: int, *, was_begun: bool = False) -> Replies:
        """The replies that a trial got in earlier sessions of the run; ``was_begun`` if it may have some of this one.

        Raises:
            StoreError: they cannot be read.
        """
        if not was_begun and await self._began_empty():
            return {}
        reading = self._store.runs.journalled(self._run, group, query_id, trial)
        texts = await self._tasks.finish(reading)
        return {place: Reply.model_validate_json(text) for place, text in texts.items()}

    async def shapes(self) -> set[str]:
        """The shapes of the requests that were answered in earlier sessions of the run."""
        return set() if await self._began_empty() else await self._tasks.finish(self._read_shapes())

    async def _began_empty(self) -> bool:
        async with self._checking:  # many trials begin at once: one of them checks
            if self._is_new is None:
                self._is_new = not await self._tasks.finish(self._store.runs.has_journal(self._run))
        return self._is_new

    async def _read_shapes(self) -> set[str]:
        replies = self._store.runs.journalled_replies(self._run)
        return {shape async for text in replies if (shape := _Entry.model_validate_json(text).shape)}

    def begin(self, entry: JournalEntry) -> asyncio.Future[None]:
        """Begin to store an entry; see ``GroupCommit.begin``."""
        return self._commits.begin(entry)

    async def _write(self, entries: Sequence[JournalEntry]) -> list[None]:
        if self._limit:
            await self._limit.journal(entries)
        else:
            await self._store.runs.journal(self._run, entries)
        return [None] * len(entries)


class JournalledModel:
    """A model whose replies in one trial are stored, and not asked for again."""

    def __init__(self, model: Model, journal: Journal, trial: tuple[str, str, int], earlier: Replies) -> None:
        self._model = model
        self._journal = journal
        self._trial = trial
        self._earlier = earlier
        self._requests: Counter[str] = Counter()
        self._unwritten: list[asyncio.Future[None]] = []
        self._unreadable: JournalEntry | None = None
        """The last reply, where it could not be read; it is stored if the trial continues all the same."""

    @property
    def name(self) -> str:
        """``PROVIDER/MODEL``."""
        return self._model.name

    async def complete(self, request: Request) -> Reply:
        """See ``Model``; raises StoreError when an earlier reply cannot be stored."""
        if self._unreadable:
            self._unwritten.append(self._journal.begin(self._unreadable))
            self._unreadable = None
        await self.wait_until_written()
        digest = request.hash
        place = (digest, self._requests[digest])
        self._requests[digest] += 1
        if place in self._earlier:
            return _readable(self._earlier[place])
        try:
            reply = await self._model.complete(request)
        except UnreadableReplyError as problem:
            lost = Reply(content=problem.reply, finish_reason=_UNREADABLE, usage=problem.usage or Usage())
            self._unreadable = JournalEntry(*self._trial, *place, _entry(lost, request))
            raise
        entry = JournalEntry(*self._trial, *place, _entry(reply, request))
        self._unwritten.append(self._journal.begin(entry))
        return reply

    async def wait_until_written(self) -> None:
        """Wait until every reply so far is stored.

        Raises:
            StoreError: one cannot be stored.
        """
        while self._unwritten:
            await self._unwritten.pop()


def _readable(reply: Reply) -> Reply:
    """The reply; raises UnreadableReplyError, as the first time, if it could not be read."""
    if reply.finish_reason == _UNREADABLE:
        text = reply.content or ""
        raise UnreadableReplyError(
            "The reply is not what was asked for.", reply=text, usage=reply.usage, hint="Use another model."
        )
    return reply
