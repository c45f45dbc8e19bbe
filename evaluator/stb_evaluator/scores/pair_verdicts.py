"""Asking judges which of two answers is better, and again whether an answer is right where a comparison wants that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

from stb_core.store import Store
from stb_core.usage import Price
from stb_core.values import SOWR, Judgement, Status, Trajectory, TrialPlace, Verdict
from stb_evaluator.judges import (
    RECORDED,
    Allowance,
    AskingJudge,
    Case,
    Judge,
    JudgingTally,
    Pair,
    PairJudge,
    VerdictForecast,
    forecast_verdicts,
    judge_missing,
    reserving,
)
from stb_evaluator.scores.win_rate import decide_outcome
from stb_evaluator.scores.win_verdicts import WinComparison

CHECKS = "sowr-answer"
"""Metric of the verdicts on single answers that a comparison asks for; SoPR never counts them."""

PairJob = tuple[TrialPlace, Pair, int]
"""A pair as it is shown, and the round."""
CheckJob = tuple[TrialPlace, Pair, Trajectory, int]
"""An answer of a pair as it is shown, and the round."""


async def ask_for_preferences(
    store: Store,
    comparison: WinComparison,
    judge: PairJudge | None,
    *,
    checker: Judge | None = None,
    connections: int,
    retry_errors: bool = False,
    allowance: Allowance | None = None,
    advance: Callable[[int, int], None] = lambda _done, _all: None,
) -> JudgingTally:
    """Ask for missing preferences and fill in ``comparison.outcomes``; no judge for recorded votes.

    ``checker`` judges single answers again where the comparison's switches say so. A question on which a
    judge failed is asked again with ``retry_errors`` only. Processes that ask at the same time share the questions.
    """
    tally = JudgingTally()
    if checker is not None:
        checking = await _check(
            store,
            comparison,
            checker,
            connections=connections,
            retry_errors=retry_errors,
            allowance=allowance,
            advance=advance,
        )
    name, rubric = (judge.name, judge.rubric) if judge else (RECORDED, RECORDED)
    asked = [pair for _, (pair, _) in comparison.questions()]
    if judge is not None:

        async def missing() -> list[PairJob]:
            return await _missing_questions(store, comparison, judge, retry_errors=retry_errors)

        def verdict(job: PairJob, judgement: Judgement) -> Verdict:
            return _verdict(comparison, judge, *job, judgement)

        await judge_missing(
            store,
            _first_run(comparison),
            missing,
            lambda job: judge.prefer(*job[1:]),
            verdict,
            connections=connections,
            tally=tally,
            advance=advance,
            reserve=reserving(allowance, judge, _preferring),
        )
    known = await preferences(store, asked, name, rubric, comparison.brought)
    if comparison.rounds is None:
        comparison.rounds = max((number + 1 for _, number in known), default=1) if judge is None else 1
    comparison.outcomes = {
        place: decide_outcome(
            pair, comparison.solved(place), comparison.rounds, known, comparison.switches, comparison.checks
        )
        for place, pair in comparison.pairs.items()
    }
    return tally if checker is None else checking + tally


async def _check(
    store: Store,
    comparison: WinComparison,
    checker: Judge,
    *,
    connections: int,
    retry_errors: bool,
    allowance: Allowance | None,
    advance: Callable[[int, int], None],
) -> JudgingTally:
    """Judge answers again where needed, and fill in ``comparison.checks``."""
    tally = JudgingTally()

    async def missing() -> list[CheckJob]:
        return await _missing_checks(store, comparison, checker, retry_errors=retry_errors)

    def verdict(job: CheckJob, judgement: Judgement) -> Verdict:
        return _verdict_on_answer(comparison, checker, *job, judgement)

    await judge_missing(
        store,
        _first_run(comparison),
        missing,
        lambda job: _checking(job)(checker),
        verdict,
        connections=connections,
        tally=tally,
        advance=advance,
        reserve=reserving(allowance, checker, _checking),
    )
    comparison.checks = _readable(await _logged_checks(store, comparison, checker))
    return tally


def _first_run(comparison: WinComparison) -> str:
    """The run whose work the questions are, in whatever order processes name the two."""
    return min(comparison.one.run.run, comparison.other.run.run)


async def forecast_preferences(
    store: Store,
    comparison: WinComparison,
    judge: PairJudge | None,
    *,
    checker: Judge | None = None,
    retry_errors: bool = False,
    price: Price | None,
) -> VerdictForecast:
    """What ``ask_for_preferences`` would ask at most, and what that would cost; asks no one.

    Where a pass verdict is missing, its pair is taken for one that needs the judge of pairs.
    """
    forecast = VerdictForecast()
    if isinstance(checker, AskingJudge):
        checks = await _missing_checks(store, comparison, checker, retry_errors=retry_errors)
        forecast += await forecast_verdicts(store, checker, CHECKS, [_checking(job) for job in checks], price)
    if judge is None:
        return forecast
    jobs = await _missing_questions(store, comparison, judge, retry_errors=retry_errors, is_forecast=True)
    if not isinstance(judge, AskingJudge):
        return forecast + VerdictForecast(len(jobs))
    asks = [_preferring(job) for job in jobs]
    return forecast + await forecast_verdicts(store, judge, SOWR, asks, price)


def _preferring(job: PairJob) -> Callable[[PairJudge], Awaitable[Judgement]]:
    return lambda judge: judge.prefer(*job[1:])


def _checking(job: CheckJob) -> Callable[[Judge], Awaitable[Judgement]]:
    return lambda judge: judge.judge(Case(job[2], job[1].query), job[3])


async def _logged_checks(store: Store, comparison: WinComparison, checker: Judge) -> list[Verdict]:
    hashes = {answer for answer, _ in comparison.to_check()}
    return await store.verdicts.by_answers(
        hashes, metric=CHECKS, judge=checker.name, rubric=checker.rubric, own=comparison.brought
    )


def _readable(log: Iterable[Verdict]) -> dict[tuple[str, int], Status]:
    """The first readable verdict on each answer in each round."""
    first: dict[tuple[str, int], Status] = {}
    for verdict in log:
        if verdict.status is not Status.ERROR:
            first.setdefault((verdict.answer_hash, verdict.round), verdict.status)
    return first


async def _missing_checks(
    store: Store, comparison: WinComparison, checker: Judge, *, retry_errors: bool
) -> list[CheckJob]:
    """The answers that have no verdict yet."""
    log = await _logged_checks(store, comparison, checker)
    known = _readable(log).keys() if retry_errors else {(one.answer_hash, one.round) for one in log}
    return [job for asked, job in comparison.to_check().items() if asked not in known]


async def _missing_questions(
    store: Store,
    comparison: WinComparison,
    judge: PairJudge,
    *,
    retry_errors: bool,
    is_forecast: bool = False,
) -> list[PairJob]:
    """The questions that have no verdict yet, each once."""
    jobs = comparison.possible_questions() if is_forecast else comparison.questions()
    known = preferences if retry_errors else _asked_before
    done = await known(store, [pair for _, (pair, _) in jobs], judge.name, judge.rubric, comparison.brought)
    missing = {
        (pair.hash, number): (place, pair, number)
        for place, (pair, number) in jobs
        if (pair.hash, number) not in done
    }
    return list(missing.values())


async def preferences(
    store: Store, asked: Sequence[Pair], judge: str, rubric: str, own: Collection[str]
) -> dict[tuple[str, int], Status]:
    """The first readable verdict on each pair as shown, in each round, whichever runs it was given for.

    ``own`` see ``Verdicts.by_answers``.
    """
    hashes = {one.hash for pair in asked for one in (pair, pair.swapped)}
    found: dict[tuple[str, int], Status] = {}
    for verdict in await store.verdicts.by_answers(hashes, metric=SOWR, judge=judge, rubric=rubric, own=own):
        if verdict.status is not Status.ERROR:
            found.setdefault((verdict.answer_hash, verdict.round), verdict.status)
    return found


async def _asked_before(
    store: Store, asked: Sequence[Pair], judge: str, rubric: str, own: Collection[str]
) -> set[tuple[str, int]]:
    """The pairs as shown, and rounds, on which there is any verdict, including failures."""
    hashes = {pair.hash for pair in asked}
    found = await store.verdicts.by_answers(hashes, metric=SOWR, judge=judge, rubric=rubric, own=own)
    return {(verdict.answer_hash, verdict.round) for verdict in found}


def _verdict(
    comparison: WinComparison,
    judge: PairJudge,
    place: TrialPlace,
    pair: Pair,
    number: int,
    judgement: Judgement,
) -> Verdict:
    runs = [comparison.one.run.run, comparison.other.run.run]
    shown = runs if pair.hash == comparison.pairs[place].hash else runs[::-1]
    return Verdict.of(
        judgement,
        place,
        run=comparison.owner,
        metric=SOWR,
        judge=judge.name,
        rubric=judge.rubric,
        number=number,
        answer_hash=pair.hash,
        details={"first": shown[0], "second": shown[1]},
    )


def _verdict_on_answer(
    comparison: WinComparison,
    checker: Judge,
    place: TrialPlace,
    pair: Pair,
    answer: Trajectory,
    number: int,
    judgement: Judgement,
) -> Verdict:
    is_first = pair.first is answer
    is_candidate = is_first == (pair.hash == comparison.pairs[place].hash)
    whose = comparison.one if is_candidate else comparison.other
    return Verdict.of(
        judgement,
        place,
        run=comparison.owner,
        metric=CHECKS,
        judge=checker.name,
        rubric=checker.rubric,
        number=number,
        answer_hash=pair.hash_of(answer),
        details={"of": whose.run.run, "shown": "first" if is_first else "second"},
    )
