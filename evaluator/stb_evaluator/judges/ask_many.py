"""Asking a judge many questions at once, each verdict on disk before it is counted."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from stb_core.cli import sessions
from stb_core.errors import ModelUnavailableError, RequestRefusedError
from stb_core.llm import CostLimitReached, Spending
from stb_core.store import GroupCommit, Lease, ShieldedTasks, Store
from stb_core.values import Judgement, Status, Verdict
from stb_core.values.verdicts import unfinished
from stb_evaluator.judges.ask import REFUSED
from stb_evaluator.judges.rules import RulesJudge

# After this many failures in a row the judge is not asked any more.
_PATIENCE = 8

Job = TypeVar("Job")


Reserve = Callable[[Job], AbstractAsyncContextManager[Spending]]
"""Reserves the most that the verdict on a job can cost, see ``CostLimit.reserve``."""

_LASTING = frozenset({"context_exceeded", "content_filter"})
"""Reasons for which an endpoint would refuse the same question again."""
_NUMBER = re.compile(r"\d+")


@dataclass
class JudgingTally:
    """How many questions were judged, reused, failed, or found the judge unavailable.

    Attributes:
        judged: with a verdict of this session, including those that failed.
        reused: with a verdict of an earlier session on the same answer.
        errors: on which the judge failed.
        lasting_errors: of these, those that would fail again.
        unavailable: that stay without a verdict because the judge was unavailable.
        unasked: that were not asked because of the limit on cost.
        dropped: that another session had given a verdict meanwhile; that one counts.
        last_problem: why the judge was unavailable.
        stopped: why the limit on cost ended the session; "" if it did not.
        problems: why the judge failed, and how often.
    """

    judged: int = 0
    reused: int = 0
    errors: int = 0
    lasting_errors: int = 0
    unavailable: int = 0
    unasked: int = 0
    dropped: int = 0
    last_problem: str = ""
    stopped: str = ""
    problems: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: JudgingTally) -> JudgingTally:
        """The sums of both."""
        return JudgingTally(
            judged=self.judged + other.judged,
            reused=self.reused + other.reused,
            errors=self.errors + other.errors,
            lasting_errors=self.lasting_errors + other.lasting_errors,
            unavailable=self.unavailable + other.unavailable,
            unasked=self.unasked + other.unasked,
            dropped=self.dropped + other.dropped,
            last_problem=other.last_problem or self.last_problem,
            stopped=other.stopped or self.stopped,
            problems=self.problems + other.problems,
        )

    def count(self, judgement: Judgement) -> None:
        """Count one verdict."""
        self.judged += 1
        if judgement.status is Status.ERROR:
            self.errors += 1
            self.lasting_errors += (judgement.details or {}).get(REFUSED) in _LASTING
            self.problems[judgement.reason] += 1

    @property
    def main_problem(self) -> str:
        """Why the judge failed most often; reasons that differ in numbers only are one reason."""
        kinds: dict[str, Counter[str]] = defaultdict(Counter)
        for reason, count in self.problems.items():
            kinds[_NUMBER.sub("0", reason)][reason] += count
        reasons = max(kinds.values(), key=Counter.total, default=Counter[str]())
        return reasons.most_common(1)[0][0] if reasons else ""


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
    reserve: Reserve[Job] | None = None,
) -> list[Verdict]:
    """Have all jobs judged, ``connections`` at a time, and the verdicts appended to the log; returns them.

    A judge that is unavailable many times in a row is not asked any more. A question that it refused before it
    had accepted any is asked again at the end: until then nobody knows whether the question was at fault. What it
    was paid for without giving a verdict is logged under the metric's ``unfinished``. ``lease`` comes from
    ``ask_alone``.

    Raises:
        StbError: the judge refuses every request, or a verdict cannot be stored.
    """
    session = _Judging(store, judge, verdict, connections, tally, advance, lease, reserve)
    advance(0, len(jobs))
    try:
        await session.ask_all(jobs)
        await session.ask_refused_again()
    except ExceptionGroup as problems:
        raise problems.exceptions[0] from None
    finally:
        # A verdict that was paid for is kept when the session is stopped.
        await session.tasks.wait_until_done()
    return session.given


class _Judging(Generic[Job]):
    """One call of ``judge_all``; see there."""

    def __init__(
        self,
        store: Store,
        judge: Callable[[Job], Awaitable[Judgement]],
        verdict: Callable[[Job, Judgement], Verdict],
        connections: int,
        tally: JudgingTally,
        advance: Callable[[int, int], None],
        lease: Lease | None,
        reserve: Reserve[Job] | None,
    ) -> None:
        self._store, self._lease = store, lease
        self._judge, self._verdict, self._reserve = judge, verdict, reserve
        self._tally, self._advance = tally, advance
        self._gate = asyncio.Semaphore(connections)
        self.tasks = ShieldedTasks()
        self._commits: GroupCommit[Verdict, None] = GroupCommit(self._append, self.tasks)
        self._n_jobs = 0
        self._unavailable_in_a_row = 0
        self._refused_early: list[Job] = []
        self.given: list[Verdict] = []

    async def ask_all(self, jobs: Sequence[Job]) -> None:
        self._n_jobs = max(self._n_jobs, len(jobs))
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(self._work(job))

    async def ask_refused_again(self) -> None:
        """Ask again what was refused before anything was accepted; useless if nothing was since."""
        again, self._refused_early = self._refused_early, []
        if not self.given:
            return
        self._unavailable_in_a_row = 0
        self._tally.unavailable -= len(again)
        await self.ask_all(again)

    async def _append(self, verdicts: Sequence[Verdict]) -> list[None]:
        self._tally.dropped += await self._store.verdicts.append(verdicts, self._lease)
        return [None] * len(verdicts)

    async def _ask(self, job: Job) -> Judgement:
        async with self._reserve(job) if self._reserve else nullcontext(Spending()) as spending:
            judgement = await self._judge(job)
            spending.add(judgement.usage)
        return judgement

    async def _work(self, job: Job) -> None:
        tally = self._tally
        async with self._gate:
            if self._unavailable_in_a_row >= _PATIENCE:
                tally.unavailable += 1
                return
            try:
                judgement = await self._ask(job)
            except CostLimitReached as reached:
                tally.unasked += 1
                tally.stopped = str(reached)
                return
            except ModelUnavailableError as problem:
                await self._miss(job, problem)
                return
            self._unavailable_in_a_row = 0
            # Before the next question: a crash loses at most the verdicts that are being asked for.
            self.given.append(self._verdict(job, judgement))
            await self._commits.begin(self.given[-1])
        tally.count(judgement)
        self._advance(tally.judged, self._n_jobs)

    async def _miss(self, job: Job, problem: ModelUnavailableError) -> None:
        """Count a verdict that the judge could not give, and log what it was paid for it."""
        self._unavailable_in_a_row += 1
        self._tally.unavailable += 1
        self._tally.last_problem = str(problem)
        if isinstance(problem.__cause__, RequestRefusedError):
            self._refused_early.append(job)
        if problem.usage and problem.usage.model_calls:
            lost = self._verdict(job, Judgement(Status.ERROR, problem.message, usage=problem.usage))
            await self._commits.begin(lost.model_copy(update={"metric": unfinished(lost.metric)}))
