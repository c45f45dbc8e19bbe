"""Filling the verdict log of a run: which verdicts are lacking, and asking the judge for them.

An answer that is not there, is not finished or is blank needs no judge (see ``scores.gate``). What
was judged is never judged again: not in this run, nor in another run with the very same answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stb_core.errors import ModelUnavailableError
from stb_core.queries import Query
from stb_core.store import Store
from stb_core.store.runs import Done, Run
from stb_core.trajectories import StopReason, Trajectory
from stb_core.verdicts import Status, Verdict
from stb_evaluator.judge import Case, Judge, Judgement
from stb_evaluator.scores import sheet_of

METRIC = "sopr"

# So many refusals in a row, and the judge is taken for gone.
_PATIENCE = 8

Place = tuple[str, str, int]
Job = tuple[Done, int]


@dataclass
class Tally:
    """What one call of ``fill_log`` did, in verdicts; ``unavailable`` are still to be given."""

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


async def fill_log(
    store: Store,
    run: Run,
    judge: Judge,
    *,
    rounds: int,
    connections: int = 16,
    retry_errors: bool = False,
    advance: Callable[[int, int], None] = lambda _done, _all: None,
) -> Tally:
    """Give every answer of a run its verdict in each of the first ``rounds`` rounds.

    Any number of times: only what is lacking is asked. Each verdict is on disk before it is counted.
    A judge that cannot be asked many times in a row is not asked any more; what is lacking then is
    counted as ``unavailable``, and the next call asks for it.
    """
    tally = Tally()
    jobs = await _lacking(store, run, judge, rounds, retry_errors=retry_errors)
    if jobs and judge.reusable:
        jobs = await _reuse(store, run, judge, jobs, tally)
    if not jobs:
        return tally
    cases = await _load_cases(store, run, jobs)
    appender, gate = _Appender(store), asyncio.Semaphore(connections)
    refused_in_a_row = 0
    finished = 0

    async def work(done: Done, number: int) -> None:
        nonlocal refused_in_a_row, finished
        case = cases[done.group, done.query_id, done.trial]
        async with gate:
            if refused_in_a_row >= _PATIENCE:
                tally.unavailable += 1
                return
            try:
                judgement = await judge.judge(case, number)
            except ModelUnavailableError as problem:
                refused_in_a_row += 1
                tally.unavailable += 1
                tally.last_problem = str(problem)
                return
        refused_in_a_row = 0
        await appender.append(_verdict(run, judge, done, number, judgement))
        tally.judged += 1
        tally.errors += judgement.status is Status.ERROR
        finished += 1
        advance(finished, len(jobs))

    advance(0, len(jobs))
    async with asyncio.TaskGroup() as group:
        for done, number in jobs:
            group.create_task(work(done, number))
    return tally


async def _lacking(store: Store, run: Run, judge: Judge, rounds: int, *, retry_errors: bool) -> list[Job]:
    """Judgeable answers and the rounds in which they have no verdict, round by round."""
    done = await store.runs.done(run.run)
    marks = await store.verdicts.marks(run.run, metric=METRIC, judge=judge.name, rubric=judge.rubric)
    there = sheet_of(run.expected, run.trials, done, marks).marks
    wanted = {(group, query_id) for group, ids in run.expected.items() for query_id in ids}
    jobs: list[Job] = []
    for number in range(rounds):
        for one in done:
            if not one.answer_hash or one.stop is not StopReason.ANSWERED:
                continue
            if (one.group, one.query_id) not in wanted:
                continue
            mark = there.get((one.group, one.query_id, one.trial, number))
            if mark is None or (retry_errors and mark.status is Status.ERROR):
                jobs.append((one, number))
    return jobs


async def _reuse(store: Store, run: Run, judge: Judge, jobs: Sequence[Job], tally: Tally) -> list[Job]:
    """Take verdicts on the same answers from the log; returns the jobs that are left."""
    known: dict[tuple[str, int], Verdict] = {}
    hashes = {done.answer_hash for done, _ in jobs}
    for verdict in await store.verdicts.by_answers(
        hashes, metric=METRIC, judge=judge.name, rubric=judge.rubric
    ):
        if verdict.status is not Status.ERROR:
            known.setdefault((verdict.answer_hash, verdict.round), verdict)
    taken: list[Verdict] = []
    left: list[Job] = []
    for done, number in jobs:
        found = known.get((done.answer_hash, number))
        if found is None:
            left.append((done, number))
            continue
        details = {**(found.details or {}), "reused_from": found.run}
        judgement = Judgement(found.status, found.reason, found.raw, details=details)
        taken.append(_verdict(run, judge, done, number, judgement))
    await store.verdicts.append(taken)
    tally.reused = len(taken)
    return left


async def _load_cases(store: Store, run: Run, jobs: Sequence[Job]) -> dict[Place, Case]:
    wanted = {(done.group, done.query_id, done.trial) for done, _ in jobs}
    queries = await _queries(store, run)
    cases: dict[Place, Case] = {}
    async for trajectory in store.runs.trajectories(run.run):
        place = (trajectory.group, trajectory.query_id, trajectory.trial)
        if place in wanted:
            cases[place] = Case(_without_tree(trajectory), queries.get(place[:2]))
    return cases


def _without_tree(trajectory: Trajectory) -> Trajectory:
    """No judge looks at the search tree, which may be most of the memory."""
    return trajectory if trajectory.tree is None else trajectory.model_copy(update={"tree": None})


async def _queries(store: Store, run: Run) -> dict[tuple[str, str], Query]:
    for dataset in await store.datasets.all():
        if dataset.name == run.dataset:
            queries = await store.datasets.queries(dataset.id, list(run.expected))
            return {(query.group, query.query_id): query for query in queries}
    return {}


def _verdict(run: Run, judge: Judge, done: Done, number: int, judgement: Judgement) -> Verdict:
    return Verdict(
        run=run.run,
        group=done.group,
        query_id=done.query_id,
        trial=done.trial,
        metric=METRIC,
        judge=judge.name,
        rubric=judge.rubric,
        round=number,
        status=judgement.status,
        reason=judgement.reason,
        answer_hash=done.answer_hash,
        raw=judgement.raw,
        usage=judgement.usage,
        details=judgement.details,
    )
