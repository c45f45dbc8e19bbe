"""Comparing two runs by the win rate: loading pairs, asking the judge, rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stb_core.store import Run, Store
from stb_core.values import SOWR, Judgement, Query, Status, Trajectory, Verdict, group_order
from stb_evaluator.judges import Case, Judge, JudgingTally, Pair, PairJudge, ask_alone, judge_all
from stb_evaluator.scores.comparison import Side
from stb_evaluator.scores.pass_rate import MACRO, MICRO, Block, ResultRow
from stb_evaluator.scores.points import errors_by_group
from stb_evaluator.scores.reference_rules import OURS
from stb_evaluator.scores.run_reader import load_queries
from stb_evaluator.scores.verdict_table import TrialPlace
from stb_evaluator.scores.win_rate import (
    PairQuestion,
    WinOutcome,
    answers_to_check,
    decide_outcome,
    pair_questions,
    solved_by_majority,
)
from stb_evaluator.statistics import compare

CHECKS = "sowr-answer"
"""Metric of the verdicts on single answers that a comparison asks for; SoPR never counts them."""
RECORDED = "recorded"


@dataclass
class WinComparison:
    """Two runs on the queries that both were to answer; ``outcomes`` of the candidate by place."""

    one: Side
    other: Side
    pairs: dict[TrialPlace, Pair]
    rounds: int | None
    switches: Mapping[str, str] = field(default_factory=lambda: dict(OURS))
    outcomes: dict[TrialPlace, WinOutcome] = field(default_factory=dict)
    checks: dict[tuple[str, int], Status] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        """The run with which verdicts on pairs are kept: if possible one that was made in this store."""
        return self.other.run.run if self.one.run.brought and not self.other.run.brought else self.one.run.run

    @property
    def brought(self) -> list[str]:
        """The runs whose verdicts count although a bundle brought them: both runs, or none."""
        runs = self.one.run, self.other.run
        return [run.run for run in runs] if all(run.brought for run in runs) else []

    def solved(self, place: TrialPlace) -> tuple[bool | None, bool | None]:
        """Whether each answer is solved by the majority of its pass verdicts."""
        return solved_by_majority(self.one.table, place), solved_by_majority(self.other.table, place)

    def questions(self) -> list[tuple[TrialPlace, PairQuestion]]:
        """All questions for the judge of pairs."""
        return [
            (place, question)
            for place, pair in self.pairs.items()
            for question in pair_questions(
                pair, self.solved(place), self.rounds or 1, self.switches, self.checks
            )
        ]

    def to_check(self) -> dict[tuple[str, int], tuple[TrialPlace, Pair, Trajectory, int]]:
        """All answers that are judged again, by what identifies their verdicts."""
        return {
            (pair.hash_of(answer), number): (place, pair, answer, number)
            for place, shown in self.pairs.items()
            for pair, answer, number in answers_to_check(shown, self.rounds or 1, self.switches)
        }


async def load_win_comparison(
    store: Store,
    one: Side,
    other: Side,
    *,
    rounds: int | None = None,
    switches: Mapping[str, str] = OURS,
    recorded: bool = False,
) -> WinComparison:
    """Load the answers of both runs to the queries that both were to answer.

    Recorded votes were cast in one order, so only one order is needed; all their rounds count unless
    ``rounds`` is smaller. Their judge may have judged the answers again, so no answer is judged here.
    """
    if recorded:
        switches = {**switches, "sowr.order": "one"}
        if switches["sowr.verdicts"] == "rejudged":
            switches["sowr.verdicts"] = "ignored"
    shared = {
        (group, query_id): None
        for group, ids in one.run.expected.items()
        for query_id in ids
        if query_id in other.run.expected.get(group, ())
    }
    answers, others = await _answers(store, one.run), await _answers(store, other.run)
    queries = await load_queries(store, one.run)
    pairs: dict[TrialPlace, Pair] = {}
    for group, query_id in shared:
        query = queries.get((group, query_id))
        for trial in range(min(one.run.trials, other.run.trials)):
            place = (group, query_id, trial)
            first, second = answers.get(place), others.get(place)
            pairs[place] = Pair(first, second, _text(query, first, second), query)
    return WinComparison(one, other, pairs, rounds, switches)


async def _answers(store: Store, run: Run) -> dict[TrialPlace, Trajectory]:
    return {
        (t.group, t.query_id, t.trial): t.model_copy(update={"tree": None, "messages": ()})
        async for t in store.runs.trajectories(run.run)
    }


def _text(query: Query | None, *trajectories: Trajectory | None) -> str:
    if query is not None:
        return query.text
    return next((t.query for t in trajectories if t is not None), "")


async def ask_for_preferences(
    store: Store,
    comparison: WinComparison,
    judge: PairJudge | None,
    *,
    checker: Judge | None = None,
    connections: int,
    retry_errors: bool = False,
    advance: Callable[[int, int], None] = lambda _done, _all: None,
) -> JudgingTally:
    """Ask for missing preferences and fill in ``comparison.outcomes``; no judge for recorded votes.

    ``checker`` judges single answers again where the comparison's switches say so. A question on which a
    judge failed is asked again with ``retry_errors`` only.

    Raises:
        BusyError: preferences are missing, and another session is asking a judge for them.
    """
    tally = JudgingTally()
    if checker is not None:
        checking = await _check(
            store,
            comparison,
            checker,
            connections=connections,
            retry_errors=retry_errors,
            advance=advance,
        )
    name, rubric = (judge.name, judge.rubric) if judge else (RECORDED, RECORDED)
    asked = [pair for _, (pair, _) in comparison.questions()]
    if judge is not None and await _missing_questions(store, comparison, judge, retry_errors=retry_errors):
        runs = [comparison.one.run.run, comparison.other.run.run]
        async with ask_alone(store, [(name, rubric)], SOWR, runs) as lease:
            await judge_all(
                store,
                await _missing_questions(store, comparison, judge, retry_errors=retry_errors),
                lambda job: judge.prefer(*job[1:]),
                lambda job, judgement: _verdict(comparison, judge, *job, judgement),
                connections=connections,
                tally=tally,
                advance=advance,
                lease=lease,
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
    advance: Callable[[int, int], None],
) -> JudgingTally:
    """Judge answers again where needed, and fill in ``comparison.checks``."""
    tally, wanted = JudgingTally(), comparison.to_check()

    async def logged() -> list[Verdict]:
        hashes = {answer for answer, _ in wanted}
        return await store.verdicts.by_answers(
            hashes, metric=CHECKS, judge=checker.name, rubric=checker.rubric, own=comparison.brought
        )

    def readable(log: Iterable[Verdict]) -> dict[tuple[str, int], Status]:
        first: dict[tuple[str, int], Status] = {}
        for verdict in log:
            if verdict.status is not Status.ERROR:
                first.setdefault((verdict.answer_hash, verdict.round), verdict.status)
        return first

    async def missing() -> list[tuple[TrialPlace, Pair, Trajectory, int]]:
        log = await logged()
        known = readable(log).keys() if retry_errors else {(one.answer_hash, one.round) for one in log}
        return [job for asked, job in wanted.items() if asked not in known]

    if await missing():
        runs = [comparison.one.run.run, comparison.other.run.run]
        async with ask_alone(store, [(checker.name, checker.rubric)], CHECKS, runs) as lease:
            await judge_all(
                store,
                await missing(),
                lambda job: checker.judge(Case(job[2], job[1].query), job[3]),
                lambda job, judgement: _verdict_on_answer(comparison, checker, *job, judgement),
                connections=connections,
                tally=tally,
                advance=advance,
                lease=lease,
            )
    comparison.checks = readable(await logged())
    return tally


async def _missing_questions(
    store: Store, comparison: WinComparison, judge: PairJudge, *, retry_errors: bool
) -> list[tuple[TrialPlace, Pair, int]]:
    """The questions that have no verdict yet, each once."""
    jobs = comparison.questions()
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


def win_rows(
    comparison: WinComparison, block: Block, *, judge: str, rubric: str, seed: int = 0
) -> list[ResultRow]:
    """Win rates of the candidate in percent by group, ``macro`` and ``micro``; p is against 50.

    ``n_error`` counts comparisons that the judge of pairs did not decide and, where pass verdicts decide
    others, those that either run lacks.
    """
    scores = _by_query(comparison.outcomes)
    groups = sorted({group for group, _ in scores}, key=group_order)
    errors = _errors(comparison, scores)
    rows: list[ResultRow] = []
    for name in [*groups, MACRO, MICRO] if groups else []:
        mine = {place: score for place, score in scores.items() if name in {place[0], MACRO, MICRO}}
        decided = {place: score for place, score in mine.items() if score is not None}
        missing, missing_b = _missing(comparison, name)
        n_error = sum(count for group, count in errors.items() if name in {group, MACRO, MICRO})
        rows.append(
            {
                "run": comparison.one.run.run,
                "run_b": comparison.other.run.run,
                "metric": SOWR,
                "block": block,
                "group": name,
                **_fields(decided, micro=name == MICRO, seed=seed),
                "wins": sum(score > 0.5 for score in decided.values()),
                "ties": sum(score == 0.5 for score in decided.values()),
                "losses": sum(score < 0.5 for score in decided.values()),
                "n": len(decided),
                "n_total": len(mine),
                "n_error": n_error,
                "missing": missing,
                "missing_b": missing_b,
                "rounds": comparison.rounds,
                "complete": not (n_error or missing or missing_b),
                "judge": judge,
                "rubric": rubric,
                "switches": dict(comparison.switches) if block == "reference" else None,
            }
        )
    return rows


def _errors(comparison: WinComparison, queries: Iterable[tuple[str, str]]) -> Counter[str]:
    """How many verdicts a rate lacks, by group."""
    if comparison.switches["sowr.verdicts"] != "used":
        return Counter(place[0] for place, one in comparison.outcomes.items() if one is None)
    # Without a pass verdict the judge of pairs was not asked, so it has not failed.
    undecided = Counter(
        place[0]
        for place, one in comparison.outcomes.items()
        if one is None and None not in comparison.solved(place)
    )
    asked = list(queries)
    return (
        undecided
        + errors_by_group(comparison.one.table, asked)
        + errors_by_group(comparison.other.table, asked)
    )


def _missing(comparison: WinComparison, group: str) -> tuple[int, int]:
    """Trials without a trajectory, of either run."""
    pairs = [pair for place, pair in comparison.pairs.items() if group in {place[0], MACRO, MICRO}]
    return sum(pair.first is None for pair in pairs), sum(pair.second is None for pair in pairs)


def _by_query(outcomes: Mapping[TrialPlace, WinOutcome]) -> dict[tuple[str, str], float | None]:
    """The mean over trials; None if one of them is undecided."""
    gathered: dict[tuple[str, str], list[WinOutcome]] = {}
    for (group, query_id, _), one in outcomes.items():
        gathered.setdefault((group, query_id), []).append(one)
    return {
        place: None if None in ones else float(np.mean([one for one in ones if one is not None]))
        for place, ones in gathered.items()
    }


def _fields(decided: Mapping[tuple[str, str], float], *, micro: bool, seed: int) -> ResultRow:
    names = "value", "ci_low", "ci_high", "interval_method", "p", "p_holm", "test"
    if not decided:
        return dict.fromkeys(names)
    values = np.array(list(decided.values()))
    groups = [group for group, _ in decided]
    weighting = "micro" if micro else "macro"
    found = compare(values, np.full(len(values), 0.5), groups=groups, weighting=weighting, seed=seed)  # type: ignore[arg-type]
    value = 50 + found.difference * 100
    interval = found.interval.scaled(100, shift=50).around(value)
    return {
        "value": value,
        "ci_low": max(0.0, interval.low),
        "ci_high": min(100.0, interval.high),
        "interval_method": interval.method,
        "p": found.significance.p,
        "p_holm": None,
        "test": found.significance.method,
    }
