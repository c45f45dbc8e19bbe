"""Asking judges for the verdicts that a run lacks.

An answer that is missing, unfinished or blank needs no judge (see ``verdict_table.gate``). What was judged
is never judged again: not in this run, nor in another run with the very same answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from stb_core.cli import console
from stb_core.store import StoredTrial
from stb_core.values import SOPR, Judgement, Status, StopReason, TrialPlace, Verdict
from stb_evaluator.judges import (
    Allowance,
    AskingJudge,
    Case,
    Judge,
    JudgingTally,
    OpenedJudges,
    PanelMember,
    Questions,
    VerdictForecast,
    claim_questions,
    forecast_verdicts,
    judge_all,
    panel_of_one,
    report_failures,
    reserving,
)
from stb_evaluator.judges.opening import OpenedJudge
from stb_evaluator.scores.judge_watch import JudgeWatch
from stb_evaluator.scores.run_reader import RunReader, without_agent_name

AnswerQuestion = tuple[StoredTrial, int]
"""An answer to judge, and the round."""


async def judge_run(
    judges: OpenedJudges,
    reader: RunReader,
    rounds: int | None,
    metric: str = SOPR,
    watch: JudgeWatch | None = None,
) -> None:
    """Have every judge give the verdicts that a run lacks, with a progress bar unless quiet.

    ``watch`` looks for drift of a judge before it is asked for the first verdict.

    Raises:
        StbError: a judge cannot be asked, or has drifted and is refused for that.
    """
    for opened in judges.members:
        judge = opened.of_answers(metric)
        if judge is None:
            continue
        await opened.check()
        number = judges.rounds(rounds, metric) or 1
        if watch:
            await watch.tell_fitness(judge)

        async def look_for_drift(
            questions: Questions[AnswerQuestion], judge: Judge = judge, opened: OpenedJudge = opened
        ) -> None:
            if watch:
                await watch.look_for_drift(
                    judge,
                    metric,
                    run=reader.run.run,
                    is_joining=questions.is_joining,
                    connections=judges.connections,
                    allowance=judges.allowance(opened),
                )

        with console.progress(quiet=judges.quiet) as bar:
            task = bar.add_task(f"{opened.name} judges {reader.run.run}", total=None, note="")
            tally = await fill_verdicts(
                reader,
                judge,
                rounds=number,
                metric=metric,
                connections=judges.connections,
                retry_errors=judges.retry_errors,
                allowance=judges.allowance(opened),
                advance=lambda done, total, task=task: bar.update(task, completed=done, total=total),  # type: ignore[misc]
                before=look_for_drift,
            )
        report_failures(reader.run.run, tally)


async def fill_verdicts(
    reader: RunReader,
    judge: Judge,
    *,
    rounds: int,
    metric: str = SOPR,
    connections: int = 16,
    retry_errors: bool = False,
    allowance: Allowance | None = None,
    advance: Callable[[int, int], None] = lambda _done, _all: None,
    before: Callable[[Questions[AnswerQuestion]], Awaitable[None]] | None = None,
) -> JudgingTally:
    """Have one judge give every answer of a run its verdict in each of the first ``rounds`` rounds.

    Any number of times, and in any number of processes at once: the judge is asked only for what is missing. Each
    verdict is on disk before it is counted. A judge that fails many times in a row is not asked any more; the verdicts
    that are then missing are counted as ``unavailable``, and the next call asks for them. So are those that
    ``allowance`` does not pay for, counted as ``unasked``. ``before`` is called before the first question is asked.
    """
    tally, member = JudgingTally(), PanelMember(judge.name, judge.rubric)

    async def missing() -> list[AnswerQuestion]:
        reader.forget(metric, member)
        return await _missing(reader, member, rounds, metric, retry_errors=retry_errors)

    reused, jobs = await _find_reusable(
        reader, judge, metric, await _missing(reader, member, rounds, metric, retry_errors=retry_errors)
    )
    if reused:
        await reader.store.verdicts.append(reused)
        reader.add_verdicts(reused)
        tally.reused = len(reused)
    if not jobs:
        return tally

    def verdict(question: AnswerQuestion, judgement: Judgement) -> Verdict:
        return _verdict(reader, judge, metric, *question, judgement)

    async with claim_questions(
        reader.store, reader.run.run, jobs, missing, verdict, connections=connections
    ) as questions:
        if before:
            await before(questions)
        cases = await _load_cases(reader, jobs)
        given = await judge_all(
            reader.store,
            questions,
            lambda question: _asking(cases, question)(judge),
            verdict,
            connections=connections,
            tally=tally,
            advance=advance,
            reserve=reserving(allowance, judge, lambda question: _asking(cases, question)),
        )
    if tally.dropped or questions.is_shared:
        reader.forget(metric, member)  # what other processes wrote counts
    else:
        reader.add_verdicts(given)
    return tally


async def forecast_run(
    judges: OpenedJudges, reader: RunReader, rounds: int | None, metric: str = SOPR
) -> list[tuple[str, VerdictForecast]]:
    """What ``judge_run`` would ask each judge, by its name, and what that would cost; asks no one."""
    forecasts: list[tuple[str, VerdictForecast]] = []
    for opened in judges.members:
        judge = opened.of_answers(metric)
        if judge is None:
            continue
        number = judges.rounds(rounds, metric) or 1
        questions = await _questions(reader, judge, number, metric, retry_errors=judges.retry_errors)
        if not isinstance(judge, AskingJudge):
            forecasts.append((opened.name, VerdictForecast(len(questions))))
            continue
        cases = await _load_cases(reader, questions)
        asks = [_asking(cases, question) for question in questions]
        forecasts.append(
            (opened.name, await forecast_verdicts(reader.store, judge, metric, asks, opened.price))
        )
    return forecasts


async def _questions(
    reader: RunReader, judge: Judge, rounds: int, metric: str, *, retry_errors: bool
) -> list[AnswerQuestion]:
    """What the judge has to be asked: neither judged in this run nor, on the same answer, in another."""
    member = PanelMember(judge.name, judge.rubric)
    questions = await _missing(reader, member, rounds, metric, retry_errors=retry_errors)
    return (await _find_reusable(reader, judge, metric, questions))[1]


def _asking(
    cases: Mapping[TrialPlace, Case], question: AnswerQuestion
) -> Callable[[Judge], Awaitable[Judgement]]:
    answer, number = question
    return lambda judge: judge.judge(cases[_place(answer)], number)


async def _missing(
    reader: RunReader, member: PanelMember, rounds: int, metric: str, *, retry_errors: bool
) -> list[AnswerQuestion]:
    """Judgeable answers and the rounds in which they have no verdict, round by round."""
    panel = panel_of_one(member.judge, member.rubric)
    table = await reader.verdict_table(panel, metric=metric, rounds=rounds)
    expected = {(group, query_id) for group, ids in reader.run.expected.items() for query_id in ids}
    questions: list[AnswerQuestion] = []
    for number in range(rounds):
        for answer in table.answers.values():
            if not answer.answer_hash or answer.stop is not StopReason.ANSWERED:
                continue
            if (answer.group, answer.query_id) not in expected:
                continue
            mark = table.marks.get((*_place(answer), number))
            if mark is None or (retry_errors and mark.status is Status.ERROR):
                questions.append((answer, number))
    return questions


async def _find_reusable(
    reader: RunReader, judge: Judge, metric: str, questions: Sequence[AnswerQuestion]
) -> tuple[list[Verdict], list[AnswerQuestion]]:
    """Verdicts in the log on the same answers in other runs, and the questions that are left."""
    if not questions or not judge.reusable:
        return [], list(questions)
    known: dict[tuple[str, int], Verdict] = {}
    hashes = {answer.answer_hash for answer, _ in questions}
    for verdict in await reader.store.verdicts.by_answers(
        hashes, metric=metric, judge=judge.name, rubric=judge.rubric, own=[reader.run.run]
    ):
        if verdict.status is not Status.ERROR:
            known.setdefault((verdict.answer_hash, verdict.round), verdict)
    reused: list[Verdict] = []
    left: list[AnswerQuestion] = []
    for answer, number in questions:
        earlier = known.get((answer.answer_hash, number))
        if earlier is None:
            left.append((answer, number))
            continue
        details = {**(earlier.details or {}), "reused_from": earlier.run}
        judgement = Judgement(earlier.status, earlier.reason, earlier.raw, details=details)
        reused.append(_verdict(reader, judge, metric, answer, number, judgement))
    return reused, left


async def _load_cases(reader: RunReader, questions: Sequence[AnswerQuestion]) -> dict[TrialPlace, Case]:
    asked = {_place(answer) for answer, _ in questions}
    queries = await reader.queries()
    cases: dict[TrialPlace, Case] = {}
    async for trajectory in reader.trajectories():
        place = (trajectory.group, trajectory.query_id, trajectory.trial)
        if place in asked:
            cases[place] = Case(without_agent_name(reader.run, trajectory), queries.get(place[:2]))
    return cases


def _place(answer: StoredTrial) -> TrialPlace:
    return answer.group, answer.query_id, answer.trial


def _verdict(
    reader: RunReader, judge: Judge, metric: str, answer: StoredTrial, number: int, judgement: Judgement
) -> Verdict:
    return Verdict.of(
        judgement,
        _place(answer),
        run=reader.run.run,
        metric=metric,
        judge=judge.name,
        rubric=judge.rubric,
        number=number,
        answer_hash=answer.answer_hash,
        details=judgement.details,
    )
