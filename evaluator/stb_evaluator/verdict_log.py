"""Asking a judge many questions at once, each verdict on disk before it is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from stb_core.errors import ModelUnavailableError
from stb_core.store import Store
from stb_core.verdicts import Status, Verdict
from stb_evaluator.judge import Judgement

# So many refusals in a row, and the judge is taken for gone.
_PATIENCE = 8

Job = TypeVar("Job")


@dataclass
class Tally:
    """What became of the questions, in verdicts; ``unavailable`` are still to be given."""

    judged: int = 0
    reused: int = 0
    errors: int = 0
    unavailable: int = 0
    last_problem: str = ""


@dataclass
class _Appender:
    """Appends verdicts in groups: while one group is being written the next gathers."""

    store: Store
    _waiting: list[Verdict] = field(default_factory=list)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def append(self, verdict: Verdict) -> None:
        """Return when the verdict is on disk."""
        self._waiting.append(verdict)
        async with self._turn:
            group, self._waiting = self._waiting, []
            await self.store.verdicts.append(group)


async def judge_all(
    store: Store,
    jobs: Sequence[Job],
    judge: Callable[[Job], Awaitable[Judgement]],
    verdict: Callable[[Job, Judgement], Verdict],
    *,
    connections: int,
    tally: Tally,
    advance: Callable[[int, int], None] = lambda _done, _all: None,
) -> None:
    """Have all jobs judged, ``connections`` at a time, and the verdicts appended to the log.

    A judge that cannot be asked many times in a row is not asked any more.
    """
    appender, gate = _Appender(store), asyncio.Semaphore(connections)
    refused_in_a_row = 0

    async def work(job: Job) -> None:
        nonlocal refused_in_a_row
        async with gate:
            if refused_in_a_row >= _PATIENCE:
                tally.unavailable += 1
                return
            try:
                judgement = await judge(job)
            except ModelUnavailableError as problem:
                refused_in_a_row += 1
                tally.unavailable += 1
                tally.last_problem = str(problem)
                return
            refused_in_a_row = 0
            # Before another is asked: a crash loses no more verdicts than were being asked for at a time.
            await appender.append(verdict(job, judgement))
        tally.judged += 1
        tally.errors += judgement.status is Status.ERROR
        advance(tally.judged, len(jobs))

    advance(0, len(jobs))
    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(work(job))
