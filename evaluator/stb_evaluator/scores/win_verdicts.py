"""Comparing two runs by the win rate: loading pairs, asking the judge, rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from stb_core.store import Store
from stb_core.values import SOWR, Query, Status, Trajectory, TrialPlace, group_order
from stb_evaluator.judges import (
    Pair,
)
from stb_evaluator.scores.comparison import Side
from stb_evaluator.scores.pass_rate import MACRO, MICRO, Block, ResultRow
from stb_evaluator.scores.points import errors_by_group
from stb_evaluator.scores.reference_rules import OURS
from stb_evaluator.scores.run_reader import RunReader
from stb_evaluator.scores.win_rate import (
    PairQuestion,
    WinOutcome,
    answers_to_check,
    is_lost,
    pair_questions,
    solved_by_majority,
)
from stb_evaluator.statistics import compare


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

    def possible_questions(self) -> list[tuple[TrialPlace, PairQuestion]]:
        """All questions that may be asked, whatever the verdicts on single answers that are missing turn out to be."""
        checks = dict.fromkeys(self.to_check(), Status.UNSURE) | self.checks
        questions: list[tuple[TrialPlace, PairQuestion]] = []
        for place, pair in self.pairs.items():
            solved = self.solved(place)
            alike = (True, True) if None in solved and not is_lost(pair) else solved
            found = pair_questions(pair, alike, self.rounds or 1, self.switches, checks)
            questions += [(place, question) for question in found]
        return questions

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
    readers: Mapping[str, RunReader] = MappingProxyType({}),
) -> WinComparison:
    """Load the answers of both runs to the queries that both were to answer.

    Recorded votes were cast in one order, so only one order is needed; all their rounds count unless
    ``rounds`` is smaller. Their judge may have judged the answers again, so no answer is judged here.
    ``readers`` are those of runs that were read before, by run.
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
    reader, other_reader = (readers.get(side.run.run) or RunReader(store, side.run) for side in (one, other))
    answers, others = await reader.answers(), await other_reader.answers()
    queries = await reader.queries()
    pairs: dict[TrialPlace, Pair] = {}
    for group, query_id in shared:
        query = queries.get((group, query_id))
        for trial in range(min(one.run.trials, other.run.trials)):
            place = (group, query_id, trial)
            first, second = answers.get(place), others.get(place)
            pairs[place] = Pair(first, second, _text(query, first, second), query)
    return WinComparison(one, other, pairs, rounds, switches)


def _text(query: Query | None, *trajectories: Trajectory | None) -> str:
    if query is not None:
        return query.text
    return next((t.query for t in trajectories if t is not None), "")


def win_rows(
    comparison: WinComparison, block: Block, *, judge: str, rubric: str, seed: int = 0
) -> list[ResultRow]:
    """Win rates of the candidate in percent by group, ``macro`` and ``micro``; p is against 50.

    ``n_error`` counts comparisons that the judge of pairs did not decide and, where pass verdicts decide
    others, those that either run lacks.
    """
    scores = _by_query(comparison.outcomes)
    worth = 0.0 if comparison.switches["sowr.ties"] == "none" else 0.5
    values = _by_query({place: worth if one == 0.5 else one for place, one in comparison.outcomes.items()})
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
                **_fields({place: values[place] for place in decided}, micro=name == MICRO, seed=seed),
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


def _fields(decided: Mapping[tuple[str, str], float | None], *, micro: bool, seed: int) -> ResultRow:
    names = "value", "ci_low", "ci_high", "interval_method", "p", "p_holm", "test"
    if not decided:
        return dict.fromkeys(names)
    values = np.array(list(decided.values()), dtype=float)
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
