"""The solvable pass rate, from verdicts to rows of a table; pure.

SoPR of a round is the mean over queries of 1 (solved), 0.5 (unsure) or 0 (unsolved); the score is
the mean over rounds (arXiv:2403.07714, section 3.2), here in percent. Two blocks that never share a
table:

* **faithful**: every expected query counts, a missing answer as unsolved; a judge that failed, and
  a trajectory that infrastructure spoiled, are left out, counted, and make the row incomplete.
* **reference**: as the published code computes it: over the answers that are present, by whatever
  verdict was recorded, and a round that lacks a verdict scores it 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from stb_core.queries import group_order
from stb_core.store.runs import Done
from stb_core.store.verdicts import Mark
from stb_core.trajectories import StopReason
from stb_core.verdicts import POINTS, Status
from stb_evaluator.statistics.intervals import Interval, Scores, mean_interval, weighted_interval

METRIC = "sopr"

Block = Literal["faithful", "reference"]
BLOCKS: tuple[Block, ...] = ("faithful", "reference")
MACRO, MICRO = "macro", "micro"

Place = tuple[str, str, int]


@dataclass(frozen=True)
class Sheet:
    """All that a score depends on; ``marks`` in the order in which they were logged.

    ``rounds`` limits the rounds that count to the first so many; None takes all that are there.
    """

    expected: Mapping[str, list[str]]
    trials: int
    answers: Mapping[Place, Done]
    marks: Mapping[tuple[str, str, int, int], Mark]
    rounds: int | None = None

    @cached_property
    def n_rounds(self) -> int:
        """How many rounds the score is a mean of, at least 1."""
        there = max((place[3] + 1 for place in self.marks), default=1)
        return there if self.rounds is None else self.rounds


@dataclass(frozen=True)
class Table:
    """Points of one group: shape (queries, trials, rounds); NaN where nothing may be scored."""

    group: str
    points: Scores
    n_total: int
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def rounds(self) -> Scores:
        """The score of each round, shape (rounds,); NaN for a round without any verdict."""
        return _nanmean(_nanmean(self.points, axis=1), axis=0)

    @property
    def queries(self) -> Scores:
        """The score of each query that has one, over its trials and rounds."""
        scores = _nanmean(self.points, axis=(1, 2))
        return scores[~np.isnan(scores)]


@dataclass(frozen=True)
class Score:
    """One row: a score in percent with its interval and all that qualifies it.

    ``n`` counts the queries that have a score, ``n_total`` those that should; ``n_error`` what ought
    to be scored and cannot: verdicts that failed or are still to be given, and trials that
    infrastructure spoiled; ``missing`` the trials without any trajectory.
    """

    block: Block
    group: str
    value: float | None
    n: int
    n_total: int
    n_error: int
    missing: int
    ci_low: float | None
    ci_high: float | None
    interval_method: str
    rounds: int
    round_values: list[float | None]
    std_rounds: float | None
    complete: bool
    counts: dict[str, int]


def sheet_of(
    expected: Mapping[str, list[str]],
    trials: int,
    done: Iterable[Done],
    marks: Iterable[Mark],
    *,
    rounds: int | None = None,
) -> Sheet:
    """Put a log in order: of several verdicts on one round the first that is none counts.

    The first readable verdict of a round stands, so a round that is judged twice adds no vote and
    changes no score; an error gives way to a verdict. A verdict on another answer than the present
    one does not count.
    """
    answers = {(d.group, d.query_id, d.trial): d for d in done}
    best: dict[tuple[str, str, int, int], Mark] = {}
    for mark in marks:
        answer = answers.get((mark.group, mark.query_id, mark.trial))
        if answer is None or answer.answer_hash != mark.answer_hash:
            continue
        place = (mark.group, mark.query_id, mark.trial, mark.round)
        if place not in best or best[place].status is Status.ERROR:
            best[place] = mark
    return Sheet(expected, trials, answers, best, rounds)


def gate(answer: Done) -> str:
    """Why an answer is unsolved without a judge: gave_up, no_finish or empty; "" when it is to be judged."""
    if answer.answer_hash:
        return ""
    if answer.stop is StopReason.ANSWERED:
        return "empty"
    return "gave_up" if answer.stop is StopReason.GAVE_UP else "no_finish"


def score(sheet: Sheet, block: Block, *, seed: int = 0) -> list[Score]:
    """All rows of a block: the groups in their usual order, then ``macro`` and ``micro``."""
    tabulate = _faithful if block == "faithful" else _reference
    tables = [tabulate(sheet, group) for group in sorted(sheet.expected, key=group_order)]
    rows = [_group_row(table, block, seed) for table in tables]
    if not tables:
        return rows
    return [*rows, _mean_row(MACRO, tables, block, seed), _mean_row(MICRO, tables, block, seed)]


def query_scores(sheet: Sheet) -> dict[tuple[str, str], float]:
    """The faithful score, in [0, 1], of every expected query that has one, over trials and rounds."""
    return {
        (group, query_id): float(value)
        for group in sorted(sheet.expected, key=group_order)
        for query_id, value in zip(
            sheet.expected[group], _nanmean(_faithful(sheet, group).points, axis=(1, 2)), strict=True
        )
        if not np.isnan(value)
    }


def _faithful(sheet: Sheet, group: str) -> Table:
    ids = sheet.expected[group]
    points = np.full((len(ids), sheet.trials, sheet.n_rounds), np.nan)
    counts: Counter[str] = Counter()
    for row, query_id in enumerate(ids):
        for trial in range(sheet.trials):
            answer = sheet.answers.get((group, query_id, trial))
            if answer is None:
                counts["missing"] += 1
                points[row, trial] = 0.0
            elif answer.stop is StopReason.INFRASTRUCTURE:
                counts["infrastructure"] += 1
            elif reason := gate(answer):
                counts[reason] += 1
                points[row, trial] = 0.0
            else:
                counts["judged"] += 1
                points[row, trial] = [
                    _count(sheet.marks.get((group, query_id, trial, number)), counts)
                    for number in range(sheet.n_rounds)
                ]
    return Table(group, points, len(ids), counts)


def _count(mark: Mark | None, counts: Counter[str]) -> float:
    counts["unjudged" if mark is None else mark.status.value] += 1
    return np.nan if mark is None else POINTS.get(mark.status, np.nan)


def _reference(sheet: Sheet, group: str) -> Table:
    present = sorted(
        place
        for place, answer in sheet.answers.items()
        if place[0] == group and answer.stop is not StopReason.INFRASTRUCTURE
    )
    points = np.zeros((len(present), 1, sheet.n_rounds))
    counts: Counter[str] = Counter()
    for row, place in enumerate(present):
        for number in range(sheet.n_rounds):
            mark = sheet.marks.get((*place, number))
            status = Status.UNSOLVED if mark is None and gate(sheet.answers[place]) else None
            status = mark.status if mark else status
            counts[status.value if status else "unjudged"] += 1
            points[row, 0, number] = POINTS.get(status, 0.0) if status else 0.0
    counts["missing"] = sum(
        (group, query_id, trial) not in sheet.answers
        for query_id in sheet.expected[group]
        for trial in range(sheet.trials)
    )
    return Table(group, points, len(sheet.expected[group]), counts)


def _group_row(table: Table, block: Block, seed: int) -> Score:
    rounds = table.rounds
    interval = mean_interval(table.queries, seed=seed) if len(table.queries) else None
    return _row(block, table.group, [table], rounds, _std(rounds), interval)


def _mean_row(group: str, tables: list[Table], block: Block, seed: int) -> Score:
    # The published code knows nothing of a group without answers.
    counted = [table for table in tables if len(table.points) or block == "faithful"]
    if not counted:
        return _row(block, group, tables, tables[0].rounds, float("nan"), None)
    sizes = np.array([len(table.points) for table in counted], dtype=np.float64)
    weights = np.ones(len(counted)) if group == MACRO else sizes
    weights = weights / max(1.0, weights.sum())
    rounds = np.array([table.rounds for table in counted])
    means = weights @ rounds
    # Published tables give the mean of the groups' deviations as that of the average.
    by_group = block == "reference" and group == MACRO
    deviation = float(np.mean([_std(one) for one in rounds])) if by_group else _std(means)
    queries = [table.queries for table in counted]
    known = all(len(scores) for scores in queries)
    interval = weighted_interval(queries, list(weights), seed=seed) if known else None
    return _row(block, group, tables, means, deviation, interval)


def _row(
    block: Block, group: str, tables: list[Table], rounds: Scores, deviation: float, interval: Interval | None
) -> Score:
    counts = sum((table.counts for table in tables), Counter[str]())
    errors = counts["infrastructure"] + counts["error"] + counts["unjudged"]
    return Score(
        block=block,
        group=group,
        value=_percent(_nanmean(rounds, axis=0)),
        n=sum(len(table.queries) for table in tables),
        n_total=sum(table.n_total for table in tables),
        n_error=errors,
        missing=counts["missing"],
        ci_low=_percent(interval.low) if interval else None,
        ci_high=_percent(interval.high) if interval else None,
        interval_method=interval.method if interval else "",
        rounds=len(rounds),
        round_values=[_percent(value) for value in rounds],
        std_rounds=_percent(deviation),
        complete=not (errors or counts["missing"]),
        counts={name: count for name, count in sorted(counts.items()) if count},
    )


def _std(values: Scores) -> float:
    """Population standard deviation, of what is known."""
    known = values[~np.isnan(values)]
    return float(known.std()) if len(known) else float("nan")


def _nanmean(values: Scores, *, axis: int | tuple[int, ...]) -> Scores:
    """Mean of what is known; NaN, without a warning, where nothing is."""
    known = ~np.isnan(values)
    counts = known.sum(axis=axis)
    sums = np.where(known, values, 0.0).sum(axis=axis)
    return np.asarray(np.divide(sums, counts, out=np.full(np.shape(sums), np.nan), where=counts > 0))


def _percent(value: float | Scores) -> float | None:
    number = float(value) * 100
    return None if np.isnan(number) else number
