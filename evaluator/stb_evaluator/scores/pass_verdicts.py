"""Filling the verdict log of a run: which verdicts are lacking, and asking the judge for them.

An answer that is not there, is not finished or is blank needs no judge (see ``scores.gate``). What
was judged is never judged again: not in this run, nor in another run with the very same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stb_core.cli import console
from stb_core.store import Store
from stb_core.store.lease import Lease
from stb_core.store.runs import Done, Run
from stb_core.values.trajectories import StopReason, Trajectory
from stb_core.values.verdicts import SOPR, Status, Verdict
from stb_evaluator.judges.ask_many import Tally, alone, judge_all
from stb_evaluator.judges.judge import Case, Judge, Judgement
from stb_evaluator.judges.opening import OpenedJudges, report_failures
from stb_evaluator.judges.panel import panel_of_one
from stb_evaluator.scores.loading import dataset_queries, load_verdict_table, unnamed

Place = tuple[str, str, int]
Job = tuple[Done, int]


async def fill_verdicts(
    store: Store,
    run: Run,
    judge: Judge,
    *,
    rounds: int,
    metric: str = SOPR,
    connections: int = 16,
    retry_errors: bool = False,
    advance: Callable[[int, int], None] = lambda _done, _all: None,
) -> Tally:
    """Give every answer of a run its verdict in each of the first ``rounds`` rounds.

    Any number of times: only what is lacking is asked. Each verdict is on disk before it is counted.
    A judge that cannot be asked many times in a row is not asked any more; what is lacking then is
    counted as ``unavailable``, and the next call asks for it.

    Raises:
        BusyError: something is lacking, and another session is asking this judge for it.
    """
    tally = Tally()
    if not await _lacking(store, run, judge, rounds, metric, retry_errors=retry_errors):
        return tally
    async with alone(store, [(judge.name, judge.rubric)], metric, [run.run]) as lease:
        jobs = await _lacking(store, run, judge, rounds, metric, retry_errors=retry_errors)
        if jobs and judge.reusable:
            jobs = await _reuse(store, run, judge, metric, jobs, tally, lease)
        if not jobs:
            return tally
        cases = await _load_cases(store, run, jobs)
        await judge_all(
            store,
            jobs,
            lambda job: judge.judge(cases[job[0].group, job[0].query_id, job[0].trial], job[1]),
            lambda job, judgement: _verdict(run, judge, metric, *job, judgement),
            connections=connections,
            tally=tally,
            advance=advance,
            lease=lease,
        )
    return tally


async def _lacking(
    store: Store, run: Run, judge: Judge, rounds: int, metric: str, *, retry_errors: bool
) -> list[Job]:
    """Judgeable answers and the rounds in which they have no verdict, round by round."""
    panel = panel_of_one(judge.name, judge.rubric)
    table = await load_verdict_table(store, run, panel, metric=metric, rounds=rounds)
    wanted = {(group, query_id) for group, ids in run.expected.items() for query_id in ids}
    jobs: list[Job] = []
    for number in range(rounds):
        for one in table.answers.values():
            if not one.answer_hash or one.stop is not StopReason.ANSWERED:
                continue
            if (one.group, one.query_id) not in wanted:
                continue
            mark = table.marks.get((one.group, one.query_id, one.trial, number))
            if mark is None or (retry_errors and mark.status is Status.ERROR):
                jobs.append((one, number))
    return jobs


async def _reuse(
    store: Store,
    run: Run,
    judge: Judge,
    metric: str,
    jobs: Sequence[Job],
    tally: Tally,
    lease: Lease | None,
) -> list[Job]:
    """Take verdicts on the same answers from the log; returns the jobs that are left."""
    known: dict[tuple[str, int], Verdict] = {}
    hashes = {done.answer_hash for done, _ in jobs}
    for verdict in await store.verdicts.by_answers(
        hashes, metric=metric, judge=judge.name, rubric=judge.rubric, own=[run.run]
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
        taken.append(_verdict(run, judge, metric, done, number, judgement))
    await store.verdicts.append(taken, lease)
    tally.reused = len(taken)
    return left


async def _load_cases(store: Store, run: Run, jobs: Sequence[Job]) -> dict[Place, Case]:
    wanted = {(done.group, done.query_id, done.trial) for done, _ in jobs}
    queries = await dataset_queries(store, run)
    cases: dict[Place, Case] = {}
    async for trajectory in store.runs.trajectories(run.run):
        place = (trajectory.group, trajectory.query_id, trajectory.trial)
        if place in wanted:
            cases[place] = Case(unnamed(run, _without_tree(trajectory)), queries.get(place[:2]))
    return cases


def _without_tree(trajectory: Trajectory) -> Trajectory:
    """No judge looks at the search tree, which may be most of the memory."""
    return trajectory if trajectory.tree is None else trajectory.model_copy(update={"tree": None})


def _verdict(run: Run, judge: Judge, metric: str, done: Done, number: int, judgement: Judgement) -> Verdict:
    return Verdict(
        run=run.run,
        group=done.group,
        query_id=done.query_id,
        trial=done.trial,
        metric=metric,
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


async def judge_run(
    judges: OpenedJudges, store: Store, run: Run, rounds: int | None, metric: str = SOPR
) -> None:
    """Let every judge of a judges give a run the verdicts that it lacks, with a progress bar unless quiet."""
    for opened in judges.members:
        judge = opened.of_answers(metric)
        if judge is None:
            continue
        if opened.model is not None:
            await opened.model.check()
        with console.progress(quiet=judges.quiet) as bar:
            task = bar.add_task(f"{opened.name} judges {run.run}", total=None, note="")
            tally = await fill_verdicts(
                store,
                run,
                judge,
                rounds=judges.rounds(rounds, metric) or 1,
                metric=metric,
                connections=judges.connections,
                retry_errors=judges.retry_errors,
                advance=lambda done, total, task=task: bar.update(task, completed=done, total=total),  # type: ignore[misc]
            )
        report_failures(run.run, tally)
