"""Asking a judge many questions at once, each verdict on disk before it is counted."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from stb_core.cli import console
from stb_core.cli.stopping import stopped_by_sigterm
from stb_core.errors import ModelUnavailableError, RequestRefusedError
from stb_core.llm import CostLimitReached, Spending
from stb_core.store import (
    Claim,
    ClaimQueue,
    EndedClaim,
    GroupCommit,
    ShieldedTasks,
    Store,
    WorkPlace,
    open_queue,
)
from stb_core.store.work import DONE, FAILED, MAX_TRIES, VERDICT
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
_NOT_ASKED = Judgement(Status.ERROR)
_GIVEN_UP = (
    f"The judge was asked {MAX_TRIES} times, and each time the process that asked it ended without a verdict."
)


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
        dropped: that another process had given a verdict meanwhile; that one counts.
        last_problem: why the judge was unavailable.
        stopped: why the limit on cost ended the session; "" if it did not.
        problems: why the judge failed, and how often.
        repeats_itself: whether all rounds of the session got the very same replies.
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
    repeats_itself: bool = False

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
            repeats_itself=self.repeats_itself or other.repeats_itself,
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


class Questions(Protocol[Job]):
    """Hands out what a judge is asked."""

    n_jobs: int
    """All that is to be asked."""

    @property
    def began_at(self) -> float:
        """When the first process began to ask the same judge that still does, by the clock of the database."""
        ...

    @property
    def is_shared(self) -> bool:
        """Whether other processes may have asked some of these questions."""
        ...

    async def is_any_left(self) -> bool:
        """Whether a question is left; other processes may have asked all of them meanwhile."""
        ...

    async def next(self) -> Asked[Job] | None:
        """A question to ask now; None when there is none left."""
        ...

    async def stop(self) -> int:
        """Hand out nothing more; returns how many questions that leaves."""
        ...

    async def give_back(self, asked: Asked[Job]) -> None:
        """Leave a question to others, or to the next session."""
        ...

    async def fail(self, asked: Asked[Job]) -> None:
        """Leave a question without a verdict, to be asked again by the next session."""
        ...

    async def again(self, asked: Asked[Job]) -> Asked[Job] | None:
        """A question to ask again that was left without a verdict; None where another process does."""
        ...

    def count(self, asked: Asked[Job], *, kept: bool) -> None:
        """Count a verdict; ``kept`` says whether it is in the log."""
        ...


@dataclass(frozen=True)
class Asked(Generic[Job]):
    """A question that is being asked, and the claim on it; None where no one else asks it."""

    job: Job
    claim: Claim | None = None


class ListedQuestions(Generic[Job]):
    """Questions that no other process asks at the same time, or that cost nothing."""

    is_shared = False
    began_at = math.inf

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.n_jobs = len(jobs)
        self._left = deque(jobs)

    async def is_any_left(self) -> bool:
        """See ``Questions``."""
        return bool(self._left)

    async def next(self) -> Asked[Job] | None:
        """See ``Questions``."""
        return Asked(self._left.popleft()) if self._left else None

    async def stop(self) -> int:
        """See ``Questions``."""
        n = len(self._left)
        self._left.clear()
        return n

    async def give_back(self, asked: Asked[Job]) -> None:
        """See ``Questions``."""

    async def fail(self, asked: Asked[Job]) -> None:
        """See ``Questions``."""

    async def again(self, asked: Asked[Job]) -> Asked[Job] | None:
        """See ``Questions``."""
        return asked

    def count(self, asked: Asked[Job], *, kept: bool) -> None:
        """See ``Questions``."""


class ClaimedQuestions(Generic[Job]):
    """Questions that this process shares with others that ask the same; each is asked once."""

    def __init__(self, jobs: Mapping[str, Job], queue: ClaimQueue) -> None:
        self.n_jobs = len(jobs)
        self._jobs = jobs
        self._queue = queue

    @property
    def began_at(self) -> float:
        """See ``Questions``."""
        return self._queue.began_at

    @property
    def is_shared(self) -> bool:
        """Whether other processes have asked some of these questions."""
        return self._queue.is_shared

    async def is_any_left(self) -> bool:
        """See ``Questions``."""
        return await self._queue.is_any_left()

    async def next(self) -> Asked[Job] | None:
        """See ``Questions``."""
        claim = await self._queue.next()
        return None if claim is None else Asked(self._jobs[claim.item], claim)

    async def stop(self) -> int:
        """See ``Questions``."""
        if self._queue.is_stopped:
            return 0
        self._queue.stop()
        return await self._queue.count_open()

    async def give_back(self, asked: Asked[Job]) -> None:
        """See ``Questions``."""
        assert asked.claim
        await self._queue.give_back(asked.claim)

    async def fail(self, asked: Asked[Job]) -> None:
        """See ``Questions``."""
        assert asked.claim
        await self._queue.end(asked.claim, FAILED)

    async def again(self, asked: Asked[Job]) -> Asked[Job] | None:
        """See ``Questions``."""
        assert asked.claim
        claim = await self._queue.claim_again(asked.claim)
        return None if claim is None else Asked(asked.job, claim)

    def count(self, asked: Asked[Job], *, kept: bool) -> None:
        """See ``Questions``."""
        assert asked.claim
        self._queue.count(asked.claim, kept=kept)


class _QuestionsAgain(Generic[Job]):
    """Questions that were refused, to be asked once more."""

    def __init__(self, questions: Questions[Job], refused: Sequence[Asked[Job]]) -> None:
        self.n_jobs = len(refused)
        self._left = deque(refused)
        self.began_at, self.is_shared = questions.began_at, questions.is_shared
        self.give_back, self.fail = questions.give_back, questions.fail
        self.again, self.count = questions.again, questions.count

    async def is_any_left(self) -> bool:
        """See ``Questions``."""
        return bool(self._left)

    async def next(self) -> Asked[Job] | None:
        """See ``Questions``."""
        while self._left:
            if asked := await self.again(self._left.popleft()):
                return asked
        return None

    async def stop(self) -> int:
        """See ``Questions``."""
        n = len(self._left)
        self._left.clear()
        return n


@asynccontextmanager
async def claim_questions(
    store: Store,
    run: str,
    jobs: Sequence[Job],
    still_missing: Callable[[], Awaitable[Sequence[Job]]],
    verdict: Callable[[Job, Judgement], Verdict],
    *,
    connections: int,
    by_answer: bool = False,
) -> AsyncGenerator[Questions[Job]]:
    """Share questions with all processes that ask them at the same time, so that each is asked once.

    Questions that other processes have begun are waited for, so that all processes see the same verdicts. What rules
    decide costs nothing, so it is not shared.

    Args:
        store: with the verdict log.
        run: the run whose work the questions are: of several the first, by their names.
        jobs: the questions without a verdict, in the order in which they are asked.
        still_missing: reads from the log which have none.
        verdict: the verdict on a job as the log keeps it.
        connections: how many this process asks at a time.
        by_answer: whether a verdict on the same answer counts wherever it was given.
    """
    asked = [verdict(job, _NOT_ASKED) for job in jobs]
    if all(one.judge == RulesJudge.name for one in asked):
        yield ListedQuestions(jobs)
        return
    named = {_question(one, by_answer=by_answer): job for one, job in zip(asked, jobs, strict=True)}
    items = {item: position for position, item in enumerate(named)}

    async def still_left() -> list[str]:
        return [_question(verdict(job, _NOT_ASKED), by_answer=by_answer) for job in await still_missing()]

    part = ", ".join(sorted({f"{one.metric} {one.judge} {one.rubric}" for one in asked}))
    with stopped_by_sigterm():
        async with open_queue(
            store.work,
            WorkPlace(run, VERDICT),
            items,
            still_left,
            slots=connections,
            part=part,
            named=True,
        ) as queue:
            if queue.others:
                n = len(queue.others)
                said = "another process asks" if n == 1 else f"{n} other processes ask"
                console.print_note(f"Joining: {said} for these verdicts already.")
            yield ClaimedQuestions(named, queue)


def _question(verdict: Verdict, *, by_answer: bool) -> str:
    """A question as a piece of work."""
    asked = (verdict.metric, verdict.judge, verdict.rubric, verdict.round, verdict.answer_hash)
    place = () if by_answer else (verdict.group, verdict.query_id, verdict.trial)
    return json.dumps([*asked, *place], ensure_ascii=False, separators=(",", ":"))


async def judge_all(
    store: Store,
    jobs: Sequence[Job] | Questions[Job],
    judge: Callable[[Job], Awaitable[Judgement]],
    verdict: Callable[[Job, Judgement], Verdict],
    *,
    connections: int,
    tally: JudgingTally,
    advance: Callable[[int, int], None] = lambda _done, _all: None,
    reserve: Reserve[Job] | None = None,
) -> list[Verdict]:
    """Have all jobs judged, ``connections`` at a time, and the verdicts appended to the log; returns them.

    A judge that is unavailable many times in a row is not asked any more. A question that it refused before it
    had accepted any is asked again at the end: until then nobody knows whether the question was at fault. What it
    was paid for without giving a verdict is logged under the metric's ``unfinished``. ``jobs`` that others may ask at
    the same time come from ``claim_questions``.

    Raises:
        StbError: the judge refuses every request, or a verdict cannot be stored.
    """
    questions = ListedQuestions(jobs) if isinstance(jobs, Sequence) else jobs
    session = _Judging(store, questions, judge, verdict, connections, tally, advance, reserve)
    try:
        await session.ask_all()
    except ExceptionGroup as problems:
        raise problems.exceptions[0] from None
    finally:
        # A verdict that was paid for is kept when the session is stopped.
        await session.tasks.wait_until_done()
    return session.given


async def judge_missing(
    store: Store,
    run: str,
    missing: Callable[[], Awaitable[Sequence[Job]]],
    judge: Callable[[Job], Awaitable[Judgement]],
    verdict: Callable[[Job, Judgement], Verdict],
    *,
    connections: int,
    tally: JudgingTally,
    advance: Callable[[int, int], None] = lambda _done, _all: None,
    reserve: Reserve[Job] | None = None,
) -> None:
    """Have judged what is missing, each question once among all processes that ask it, wherever its answer was given.

    ``missing`` reads from the log what has no verdict. ``run`` see ``claim_questions``, the rest see ``judge_all``.

    Raises:
        StbError: as ``judge_all``.
    """
    jobs = await missing()
    if not jobs:
        return
    async with claim_questions(
        store, run, jobs, missing, verdict, connections=connections, by_answer=True
    ) as questions:
        await judge_all(
            store,
            questions,
            judge,
            verdict,
            connections=connections,
            tally=tally,
            advance=advance,
            reserve=reserve,
        )


class _Judging(Generic[Job]):
    """One call of ``judge_all``; see there."""

    def __init__(
        self,
        store: Store,
        questions: Questions[Job],
        judge: Callable[[Job], Awaitable[Judgement]],
        verdict: Callable[[Job, Judgement], Verdict],
        connections: int,
        tally: JudgingTally,
        advance: Callable[[int, int], None],
        reserve: Reserve[Job] | None,
    ) -> None:
        self._store, self._questions, self._connections = store, questions, connections
        self._judge, self._verdict, self._reserve = judge, verdict, reserve
        self._tally, self._advance = tally, advance
        self.tasks = ShieldedTasks()
        self._commits: GroupCommit[tuple[Verdict, EndedClaim | None], bool] = GroupCommit(
            self._append, self.tasks
        )
        self._unavailable_in_a_row = 0
        self._refused_early: list[Asked[Job]] = []
        self.given: list[Verdict] = []

    async def ask_all(self) -> None:
        """Ask all questions, and those again that were refused before anything was accepted."""
        self._advance(0, self._questions.n_jobs)
        await self._start_slots(self._questions)
        again, self._refused_early = self._refused_early, []
        if self.given and again:  # if nothing was accepted since, it is useless
            self._unavailable_in_a_row = 0
            self._tally.unavailable -= len(again)
            await self._start_slots(_QuestionsAgain(self._questions, again))

    async def _start_slots(self, questions: Questions[Job]) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._connections, questions.n_jobs)):
                group.create_task(self._work(questions))

    async def _append(self, given: Sequence[tuple[Verdict, EndedClaim | None]]) -> list[bool]:
        verdicts, ended = [one[0] for one in given], [one[1] for one in given]
        if any(ended):
            return await self._store.verdicts.append_claimed(verdicts, ended)
        n_dropped = await self._store.verdicts.append(verdicts)
        self._tally.dropped += n_dropped
        return [True] * len(given)

    async def _ask(self, asked: Asked[Job]) -> Judgement:
        if asked.claim and asked.claim.is_hopeless:
            return Judgement(Status.ERROR, _GIVEN_UP)
        async with self._reserve(asked.job) if self._reserve else nullcontext(Spending()) as spending:
            judgement = await self._judge(asked.job)
            spending.add(judgement.usage)
        return judgement

    async def _work(self, questions: Questions[Job]) -> None:
        """Ask one question after the other until none is left."""
        tally = self._tally
        while (asked := await questions.next()) is not None:
            try:
                judgement = await self._ask(asked)
            except CostLimitReached as reached:
                n_left = await questions.stop()  # other slots count theirs meanwhile
                tally.unasked += 1 + n_left
                tally.stopped = str(reached)
                await questions.give_back(asked)
                continue
            except ModelUnavailableError as problem:
                await self._miss(questions, asked, problem)
                if self._unavailable_in_a_row >= _PATIENCE:
                    n_left = await questions.stop()
                    tally.unavailable += n_left
                continue
            self._unavailable_in_a_row = 0
            # Before the next question: a crash loses at most the verdicts that are being asked for.
            verdict = self._verdict(asked.job, judgement)
            self.given.append(verdict)
            ended = None if asked.claim is None else asked.claim.ended(DONE)
            kept = await self._commits.begin((verdict, ended))
            questions.count(asked, kept=kept)
            tally.dropped += not kept
            tally.count(judgement)
            self._advance(tally.judged, self._questions.n_jobs)

    async def _miss(
        self, questions: Questions[Job], asked: Asked[Job], problem: ModelUnavailableError
    ) -> None:
        """Count a verdict that the judge could not give, and log what it was paid for it."""
        self._unavailable_in_a_row += 1
        self._tally.unavailable += 1
        self._tally.last_problem = str(problem)
        if isinstance(problem.__cause__, RequestRefusedError):
            self._refused_early.append(asked)
        if problem.usage and problem.usage.model_calls:
            lost = self._verdict(asked.job, Judgement(Status.ERROR, problem.message, usage=problem.usage))
            await self._commits.begin((lost.model_copy(update={"metric": unfinished(lost.metric)}), None))
        await questions.fail(asked)
