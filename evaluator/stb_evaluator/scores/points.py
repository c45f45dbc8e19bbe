"""Points of answers, group by group, by the faithful and by the published rules; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stb_core.store import Mark
from stb_core.values import POINTS, Status, StopReason, TrialPlace
from stb_evaluator.scores.verdict_table import VerdictTable, gate
from stb_evaluator.statistics import Array


@dataclass(frozen=True)
class PointsTable:
    """Points of one group: shape (queries, trials, rounds); NaN where nothing may be scored.

    ``ids`` names the queries, row by row. ``lacking`` says of each round whether a verdict is missing
    in it, shape (rounds,).
    """

    group: str
    points: Array
    n_total: int
    ids: list[str]
    lacking: NDArray[np.bool_]
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def is_whole(self) -> bool:
        """Whether there is a point for every trial and round."""
        return not np.isnan(self.points).any()

    @property
    def value(self) -> float:
        """The score: the mean over rounds, or, if points are missing, over the queries that have a score.

        Without gaps both are the same. With gaps a mean over rounds is too low: answers that need no judge
        have 0 points in every round, so a round with few verdicts would be mostly failures.
        """
        return float(nanmean(self.rounds if self.is_whole else self.all_queries, axis=0))

    @property
    def rounds(self) -> Array:
        """The score of each round, shape (rounds,); NaN for a round in which a verdict is missing."""
        return np.where(self.lacking, np.nan, nanmean(nanmean(self.points, axis=1), axis=0))

    @property
    def all_queries(self) -> Array:
        """The score of each query over its trials and rounds, shape (queries,); NaN where it has none.

        A trial weighs no more than another because it has more verdicts.
        """
        by_trial = nanmean(nanmean(self.points, axis=2), axis=1)
        is_whole = ~np.isnan(self.points).any(axis=(1, 2))
        return np.where(is_whole, nanmean(self.points, axis=(1, 2)), by_trial)

    @property
    def queries(self) -> Array:
        """The score of each query that has one."""
        scores = self.all_queries
        return scores[~np.isnan(scores)]

    @property
    def scored_ids(self) -> list[str]:
        """The ids of the queries that have a score, in the order of ``queries``."""
        known = ~np.isnan(self.all_queries)
        return [query_id for query_id, is_known in zip(self.ids, known, strict=True) if is_known]

    @property
    def is_complete(self) -> bool:
        """Whether its queries are known, and nothing is missing of them."""
        return not (self.n_error or self.counts["missing"] or self.counts["unknown_groups"])

    @property
    def n_scored(self) -> int:
        """How many queries have a score; a query with several trials is one."""
        return len(set(self.scored_ids))

    @property
    def n_error(self) -> int:
        """Verdicts that failed or are missing, and trials lost to infrastructure failures: all that has no score."""
        return self.counts["infrastructure"] + self.counts["error"] + self.counts["unjudged"]


def faithful_table(table: VerdictTable, group: str) -> PointsTable:
    """Every expected query; what may not be scored is NaN, and counted."""
    ids = table.expected[group]
    points = np.full((len(ids), table.trials, table.n_rounds), np.nan)
    lacking = np.zeros(table.n_rounds, dtype=np.bool_)
    counts: Counter[str] = Counter(unknown_groups=not ids)
    for row, query_id in enumerate(ids):
        for trial in range(table.trials):
            answer = table.answers.get((group, query_id, trial))
            if (group, query_id, trial) in table.left_out:
                counts["left_out"] += 1
            elif answer is None:
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
                    _count(table.marks.get((group, query_id, trial, number)), counts)
                    for number in range(table.n_rounds)
                ]
                lacking |= np.isnan(points[row, trial])
    return PointsTable(group, points, len(ids), ids, lacking, counts)


def errors_by_group(table: VerdictTable, queries: Iterable[tuple[str, str]]) -> Counter[str]:
    """What has no score on these queries, given by (group, id); see ``PointsTable.n_error``."""
    asked: dict[str, list[str]] = {}
    for group, query_id in queries:
        asked.setdefault(group, []).append(query_id)
    narrowed = replace(table, expected=asked)
    return Counter({group: faithful_table(narrowed, group).n_error for group in asked})


def _count(mark: Mark | None, counts: Counter[str]) -> float:
    counts["unjudged" if mark is None else mark.status.value] += 1
    return np.nan if mark is None else POINTS.get(mark.status, np.nan)


def reference_table(table: VerdictTable, group: str, switches: Mapping[str, str]) -> PointsTable:
    """The answers that are present, in the published way, as the switches are set.

    A row is one trial of one query. Trials lost to infrastructure failures are left out, and counted.
    """
    asked = [(group, query_id, trial) for query_id in table.expected[group] for trial in range(table.trials)]
    missing = [place for place in asked if place not in table.answers]
    answered = sorted(place for place in asked if place in table.answers)
    rows = [place for place in answered if table.answers[place].stop is not StopReason.INFRASTRUCTURE]
    n_lost = len(answered) - len(rows)
    if switches["sopr.missing"] == "unsolved":
        rows += missing
    points = np.zeros((len(rows), 1, table.n_rounds))
    counts: Counter[str] = Counter(missing=len(missing), infrastructure=n_lost, unknown_groups=not asked)
    for row, place in enumerate(rows):
        for number in range(table.n_rounds):
            status = _reference_status(table, place, number, switches)
            counts["unjudged" if status is None else status.value] += place in table.answers
            gap = np.nan if switches["sopr.gaps"] == "unscored" else 0.0
            points[row, 0, number] = gap if status is None else POINTS.get(status, gap)
    lacking, ids = np.asarray(np.isnan(points).any(axis=(0, 1))), [place[1] for place in rows]
    return PointsTable(group, points, len(table.expected[group]), ids, lacking, counts)


def _reference_status(
    table: VerdictTable, place: TrialPlace, number: int, switches: Mapping[str, str]
) -> Status | None:
    """The verdict of a round as the published code has it; None where it has none."""
    answer = table.answers.get(place)
    if answer is None:
        return Status.UNSOLVED
    mark = table.marks.get((*place, number))
    if mark is None and gate(answer):  # no judge is ever asked about it
        return Status.UNSOLVED
    if switches["sopr.gate"] == "words" and not table.worded.get(place, True):
        return Status.UNSOLVED
    return mark.status if mark else None


def nanmean(values: Array, *, axis: int | tuple[int, ...]) -> Array:
    """Mean of the known values; NaN, without a warning, where there is none."""
    known = ~np.isnan(values)
    counts = known.sum(axis=axis)
    sums = np.where(known, values, 0.0).sum(axis=axis)
    return np.asarray(np.divide(sums, counts, out=np.full(np.shape(sums), np.nan), where=counts > 0))
