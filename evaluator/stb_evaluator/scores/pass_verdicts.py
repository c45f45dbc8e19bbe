"""Asking judges for the verdicts that a run lacks.

An answer that is missing, unfinished or blank needs no judge (see ``verdict_table.gate``). What was judged
is never judged again: not in this run, nor in another run with the very same answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from stb_core.cli import console
from stb_core.errors import UsageError
from stb_core.store import StoredTrial
from stb_core.values import SOPR, Judgement, Status, StopReason, TrialPlace, Verdict
from stb_core.values.verdicts import COPY_OF_ROUND
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

_ENOUGH_ANSWERS = 5
"""Answers on which all rounds must have been the same before a judge is said to repeat itself."""

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
        if judges.copy_rounds:
            _check_copies(judge)
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
                    since=questions.began_at,
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
                copy_rounds=judges.copy_rounds,
                allowance=judges.allowance(opened),
                advance=lambda done, total, task=task: bar.update(task, completed=done, total=total),  # type: ignore[misc]
                before=look_for_drift,
            )
        report_failures(reader.run.run, tally)
        if tally.repeats_itself and not judges.copy_rounds:
            console.print_note(
                f"{opened.name} gave the very same reply in every round. With --copy-rounds further rounds are copies of"
                " the first and cost nothing."
            )


async def fill_verdicts(
    reader: RunReader,
    judge: Judge,
    *,
    rounds: int,
    metric: str = SOPR,
    connections: int = 16,
    retry_errors: bool = False,
    copy_rounds: bool = False,
    allowance: Allowance | None = None,
    advance: Callable[[int, int], None] = lambda _done, _all: None,
    before: Callable[[Questions[AnswerQuestion]], Awaitable[None]] | None = None,
) -> JudgingTally:
    """Have one judge give every answer of a run its verdict in each of the first ``rounds`` rounds.

    Any number of times, and in any number of processes at once: the judge is asked only for what is missing. Each
    verdict is on disk before it is counted. A judge that fails many times in a row is not asked any more; the verdicts
    that are then missing are counted as ``unavailable``, and the next call asks for them. So are those that
    ``allowance`` does not pay for, counted as ``unasked``. ``before`` is called before the first question is asked, if one is left.
    With ``copy_rounds`` a judge is asked once about an answer, and the other rounds are copies of that verdict: at no
    cost, and marked.
    """
    tally, member = JudgingTally(), PanelMember(judge.name, judge.rubric)

    async def missing() -> list[AnswerQuestion]:
        reader.forget(metric, member)
        left = await _missing(reader, member, rounds, metric, retry_errors=retry_errors)
        return [(answer, number) for answer, number in left if (_place(answer), number) in wanted]

    reused, jobs = await _find_reusable(
        reader, judge, metric, await _missing(reader, member, rounds, metric, retry_errors=retry_errors)
    )
    if reused:
        await reader.store.verdicts.append(reused)
        reader.add_verdicts(reused)
        tally.reused = len(reused)
    copies: list[AnswerQuestion] = []
    if copy_rounds:
        jobs, copies = await _set_copies_aside(reader, member, rounds, metric, jobs)
    given: list[Verdict] = []
    is_shared = False
    wanted = {(_place(answer), number) for answer, number in jobs}

    def verdict(question: AnswerQuestion, judgement: Judgement) -> Verdict:
        return _verdict(reader, judge, metric, *question, judgement)

    if jobs:
        async with claim_questions(
            reader.store, reader.run.run, jobs, missing, verdict, connections=connections
        ) as questions:
            if before and await questions.is_any_left():
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
        is_shared = questions.is_shared or bool(tally.dropped)
        tally.repeats_itself = _repeats_itself(given)
    if copies:
        copied = await _copies(reader, judge, metric, copies, given)
        is_shared |= await reader.store.verdicts.append(copied) > 0
        given = [*given, *copied]
    if is_shared:
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
        questions = await _questions(judges, reader, judge, number, metric)
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
    judges: OpenedJudges, reader: RunReader, judge: Judge, rounds: int, metric: str
) -> list[AnswerQuestion]:
    """What the judge has to be asked: neither judged in this run nor, on the same answer, in another."""
    member = PanelMember(judge.name, judge.rubric)
    questions = await _missing(reader, member, rounds, metric, retry_errors=judges.retry_errors)
    _, questions = await _find_reusable(reader, judge, metric, questions)
    if judges.copy_rounds:
        questions, _ = await _set_copies_aside(reader, member, rounds, metric, questions)
    return questions


def _check_copies(judge: Judge) -> None:
    """Check that rounds of a judge can be copies of each other.

    Raises:
        UsageError: it is asked at another temperature than 0.
    """
    if isinstance(judge, AskingJudge) and judge.temperature != 0:
        how = "the endpoint's own" if judge.temperature is None else f"{judge.temperature:g}"
        raise UsageError(
            f"The rounds of {judge.name} differ: it is asked at temperature {how}, not 0.",
            hint="Leave --copy-rounds out.",
        )


async def _set_copies_aside(
    reader: RunReader, member: PanelMember, rounds: int, metric: str, questions: Sequence[AnswerQuestion]
) -> tuple[list[AnswerQuestion], list[AnswerQuestion]]:
    """The questions to ask, one for each answer without a verdict; and those whose verdict will be a copy."""
    panel = panel_of_one(member.judge, member.rubric)
    table = await reader.verdict_table(panel, metric=metric, rounds=rounds)
    known = {place[:3] for place, mark in table.marks.items() if mark.status is not Status.ERROR}
    asked: list[AnswerQuestion] = []
    copies: list[AnswerQuestion] = []
    for answer, number in sorted(questions, key=lambda question: question[1]):
        (copies if _place(answer) in known else asked).append((answer, number))
        known.add(_place(answer))
    return asked, copies


async def _copies(
    reader: RunReader, judge: Judge, metric: str, places: Sequence[AnswerQuestion], given: Sequence[Verdict]
) -> list[Verdict]:
    """The verdicts of these rounds, as copies of the first readable one on the same answer; none where none is."""
    logged = await reader.store.verdicts.of_run(
        reader.run.run, metric=metric, judge=judge.name, rubric=judge.rubric
    )
    first: dict[tuple[TrialPlace, str], Verdict] = {}
    for one in (*logged, *given):
        if one.status is not Status.ERROR and not one.is_copy:
            first.setdefault(((one.group, one.query_id, one.trial), one.answer_hash), one)
    copied: list[Verdict] = []
    for answer, number in places:
        source = first.get((_place(answer), answer.answer_hash))
        if source is not None:
            details = {**(source.details or {}), COPY_OF_ROUND: source.round}
            judgement = Judgement(source.status, source.reason, source.raw, details=details)
            copied.append(_verdict(reader, judge, metric, answer, number, judgement))
    return copied


def _repeats_itself(given: Sequence[Verdict]) -> bool:
    """Whether a judge was asked about enough answers in several rounds, and said the same to the letter each time."""
    said: dict[TrialPlace, list[tuple[str, ...]]] = {}
    for verdict in given:
        said.setdefault((verdict.group, verdict.query_id, verdict.trial), []).append(verdict.raw)
    several = [replies for replies in said.values() if len(replies) > 1]
    return len(several) >= _ENOUGH_ANSWERS and all(len(set(replies)) == 1 for replies in several)


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
