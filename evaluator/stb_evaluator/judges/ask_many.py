"""Asking a judge many questions at once, each verdict on disk before it is counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from stb_core.cli import sessions
from stb_core.errors import ModelUnavailableError
from stb_core.store import GroupCommit, Lease, ShieldedTasks, Store
from stb_core.values import Judgement, Status, Verdict
from stb_evaluator.judges.rules import RulesJudge

# After this many failures in a row the judge is not asked any more.
_PATIENCE = 8

Job = TypeVar("Job")


@dataclass
class JudgingTally:
    """How many questions were judged, reused, failed, or found the judge unavailable."""

    judged: int = 0
    reused: int = 0
    errors: int = 0
    unavailable: int = 0
    last_problem: str = ""

    def __add__(self, other: JudgingTally) -> JudgingTally:
        """The sums of both."""
        return JudgingTally(
            judged=self.judged + other.judged,
            reused=self.reused + other.reused,
            errors=self.errors + other.errors,
            unavailable=self.unavailable + other.unavailable,
            last_problem=other.last_problem or self.last_problem,
        )


@asynccontextmanager
async def ask_alone(
    store: Store, judges: Sequence[tuple[str, str]], metric: str, about: Sequence[str]
) -> AsyncGenerator[Lease | None]:
    """Let no other session ask these judges the same questions while the block runs.

    Look up the missing verdicts inside the block. Rules cost nothing, so they need no lease.

    Args:
        store: the store with the verdict log.
        judges: name and rubric of each.
        metric: the metric by which they judge.
        about: the runs whose answers are judged, in any order.

    Raises:
        BusyError: another session is asking them, or has taken over the lease.
    """
    paid = [judge for judge in judges if judge[0] != RulesJudge.name]
    if not paid:
        yield None
        return
    what = f"the {metric} verdicts of {', '.join(name for name, _ in paid)} on {' and '.join(about)}"
    names = [" ".join(("verdicts", metric, *judge, *sorted(about))) for judge in paid]
    async with sessions.holding(store, names, what) as lease:
        yield lease


async def judge_all(
    store: Store,
    jobs: Sequence[Job],
    judge: Callable[[Job], Awaitable[Judgement]],
    verdict: Callable[[Job, Judgement], Verdict],
    *,
    connections: int,
    tally: JudgingTally,
    advance: Callable[[int, int], None] = lambda _done, _all: None,
    lease: Lease | None = None,
) -> None:
    """Have all jobs judged, ``connections`` at a time, and the verdicts appended to the log.

    A judge that is unavailable many times in a row is not asked any more. ``lease`` comes from ``ask_alone``.

    Raises:
        StbError: the judge refuses every request, or a verdict cannot be stored.
    """

    async def append(verdicts: Sequence[Verdict]) -> list[None]:
        await store.verdicts.append(verdicts, lease)
        return [None] * len(verdicts)

    tasks, gate = ShieldedTasks(), asyncio.Semaphore(connections)
    commits: GroupCommit[Verdict, None] = GroupCommit(append, tasks)
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
            # Before the next question: a crash loses at most the verdicts that are being asked for.
            await commits.begin(verdict(job, judgement))
        tally.judged += 1
        tally.errors += judgement.status is Status.ERROR
        advance(tally.judged, len(jobs))

    advance(0, len(jobs))
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(work(job))
    except ExceptionGroup as problems:
        raise problems.exceptions[0] from None
    finally:
        await tasks.wait_until_done()  # a verdict that was paid for is kept when the session is stopped
