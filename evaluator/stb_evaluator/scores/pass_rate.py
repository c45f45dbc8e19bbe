"""The solvable pass rate, from verdicts to rows of a table; pure.

SoPR of a round is the mean over queries of 1 (solved), 0.5 (unsure) or 0 (unsolved); the score is
the mean over rounds (arXiv:2403.07714, section 3.2), here in percent. Two blocks that never share a
table:

* **faithful**: every expected query counts, a missing answer as unsolved; a judge that failed, and
  a trajectory lost to infrastructure failures, are left out, counted, and make the row incomplete. The
  score is then the mean over queries of the verdicts that each has.
* **reference**: as the published code computes it: over the answers that are present, by the recorded
  verdicts; an answer without a verdict in a round scores 0 in that round. What the published code does not
  see is counted all the same, and makes the row incomplete: its value may look like that of a whole run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from stb_core.values import group_order
from stb_evaluator.scores.points import PointsTable, faithful_table, nanmean, reference_table
from stb_evaluator.scores.reference_rules import PUBLISHED
from stb_evaluator.scores.verdict_table import VerdictTable
from stb_evaluator.statistics import (
    Array,
    Interval,
    Weighting,
    bootstrap_ends,
    design_of,
    is_small,
    mean_interval,
)

Block = Literal["faithful", "reference"]
BLOCKS: tuple[Block, ...] = ("faithful", "reference")
MACRO: Literal["macro"] = "macro"
MICRO: Literal["micro"] = "micro"

ResultRow = dict[str, Any]
"""A score or a difference with all that qualifies it, as JSON and tables show it."""


@dataclass(frozen=True)
class Score:
    """One row: a score in percent with its interval and all that qualifies it.

    ``n`` counts the queries that have a score, ``n_total`` all expected queries. ``n_error`` counts verdicts
    that failed or are missing, and trials lost to infrastructure failures; ``missing`` counts trials without
    a trajectory. ``round_values`` holds None for a round in which a verdict is missing, and ``std_rounds`` is
    the deviation of the other rounds.
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


def score(
    verdict_table: VerdictTable,
    block: Block,
    *,
    switches: Mapping[str, str] = PUBLISHED,
    clusters: Mapping[tuple[str, str], str] | None = None,
    seed: int = 0,
) -> list[Score]:
    """All rows of a block: the groups in their usual order, then ``macro`` and ``micro``.

    ``switches`` set the reference block; the faithful one has none. With ``clusters``, the names of
    clusters by (group, query id), intervals allow for queries of one cluster.
    """
    groups = sorted(verdict_table.expected, key=group_order)
    if block == "faithful":
        tables = [faithful_table(verdict_table, group) for group in groups]
    else:
        tables = [reference_table(verdict_table, group, switches) for group in groups]
    # The published code ignores a group without answers.
    counted = [table for table in tables if len(table.points) or block == "faithful"]
    intervals = _intervals(counted, seed) if clusters is None else _clustered(counted, clusters, seed)
    rows = [
        _row(block, t.group, [t], t.value, t.rounds, _std(t.rounds), intervals.get(t.group)) for t in tables
    ]
    if tables:
        rows += [_mean_row(name, tables, counted, block, intervals.get(name)) for name in (MACRO, MICRO)]
    return rows


def query_scores(verdict_table: VerdictTable) -> dict[tuple[str, str], float]:
    """The faithful score, in [0, 1], of every expected query that has one, over trials and rounds."""
    return {
        (group, query_id): float(value)
        for group in sorted(verdict_table.expected, key=group_order)
        for query_id, value in zip(
            verdict_table.expected[group], faithful_table(verdict_table, group).all_queries, strict=True
        )
        if not np.isnan(value)
    }


def _mean_row(
    group: str, tables: list[PointsTable], counted: list[PointsTable], block: Block, interval: Interval | None
) -> Score:
    if not counted:
        return _row(block, group, tables, float("nan"), tables[0].rounds, float("nan"), None)
    sizes = np.array([len(table.queries) for table in counted], dtype=np.float64)
    weights = np.ones(len(counted)) if group == MACRO else sizes
    weights = weights / max(1.0, weights.sum())
    rounds = np.array([table.rounds for table in counted])
    means = _weighted(weights, rounds)
    if all(table.is_whole for table in counted):
        value = nanmean(means, axis=0)
    else:
        value = _weighted(weights, np.array([table.value for table in counted]))
    # Published tables give the mean of the groups' deviations as that of the average.
    by_group = block == "reference" and group == MACRO
    deviation = float(np.mean([_std(one) for one in rounds])) if by_group else _std(means)
    return _row(block, group, tables, float(value), means, deviation, interval)


def _weighted(weights: Array, values: Array) -> Array:
    """The mean over the first axis; NaN where a value is.

    Weights that do not add up to 1 exactly must not carry it beyond the values: six times 100 % is 100 %.
    """
    return np.asarray(np.clip(weights @ values, values.min(axis=0), values.max(axis=0)))


def _intervals(tables: list[PointsTable], seed: int) -> Mapping[str, Interval]:
    """Intervals of every group that has scores, and of ``macro`` and ``micro`` if all groups have some."""
    scored = [table for table in tables if len(table.queries)]
    if not scored:
        return {}
    scores = tuple(float(score) for table in scored for score in np.sort(table.queries))
    groups = tuple(table.group for table in scored for _ in table.queries)
    found = _intervals_of(scores, groups, seed)
    if len(scored) < len(tables):
        return {name: interval for name, interval in found.items() if name not in {MACRO, MICRO}}
    return found


def _clustered(
    tables: list[PointsTable], clusters: Mapping[tuple[str, str], str], seed: int
) -> Mapping[str, Interval]:
    """As ``_intervals``, with clusters of queries in place of queries.

    Never shorter than without: a few clusters that happen to agree prove nothing.
    """
    places = [(table.group, query_id) for table in tables for query_id in table.scored_ids]
    if not places:
        return {}
    values = np.concatenate([table.queries for table in tables])
    groups = [group for group, _ in places]
    names = [clusters.get(place, "/".join(place)) for place in places]
    found: dict[str, Interval] = {}
    for table in tables:
        mine = [number for number, group in enumerate(groups) if group == table.group]
        if mine:
            own = [names[number] for number in mine]
            found[table.group] = mean_interval(values[mine], clusters=own, seed=seed)
    if len(found) == len(tables):
        weightings: tuple[Weighting, ...] = (MACRO, MICRO)
        for weighting in weightings:
            found[weighting] = mean_interval(
                values, groups=groups, clusters=names, weighting=weighting, seed=seed
            )
    plain = _intervals(tables, seed)
    return {name: one.covering(plain[name]) for name, one in found.items()}


@lru_cache(maxsize=64)
def _intervals_of(scores: tuple[float, ...], groups: tuple[str, ...], seed: int) -> Mapping[str, Interval]:
    """Intervals of all rows from one set of draws; cached, because both blocks mostly use the same scores."""
    values, labels = np.array(scores), np.array(groups)
    names = list(dict.fromkeys(groups))
    if any(is_small(values[labels == name]) for name in names):
        found = {name: mean_interval(values[labels == name], seed=seed) for name in names}
        weightings: tuple[Weighting, ...] = (MACRO, MICRO)
        for weighting in weightings:
            found[weighting] = mean_interval(values, groups=groups, weighting=weighting, seed=seed)
        return found
    n, design = len(values), design_of(len(values), groups=groups, weighting="micro")
    shares = np.column_stack([(labels == name) * (n / np.count_nonzero(labels == name)) for name in names])
    weights = np.column_stack([shares, shares.mean(axis=1), np.ones(n)])
    low, high = np.clip(bootstrap_ends(values[:, None] * weights, design, seed=seed), 0, 1)
    return {
        name: Interval(float(one), float(other), "bootstrap")
        for name, one, other in zip([*names, MACRO, MICRO], low, high, strict=True)
    }


def _row(
    block: Block,
    group: str,
    tables: list[PointsTable],
    value: float,
    rounds: Array,
    deviation: float,
    interval: Interval | None,
) -> Score:
    counts = sum((table.counts for table in tables), Counter[str]())
    errors = sum(table.n_error for table in tables)
    if interval is not None and not np.isnan(value):
        interval = interval.around(value)
    return Score(
        block=block,
        group=group,
        value=_percent(value),
        n=sum(table.n_scored for table in tables),
        n_total=sum(table.n_total for table in tables),
        n_error=errors,
        missing=counts["missing"],
        ci_low=_percent(interval.low) if interval else None,
        ci_high=_percent(interval.high) if interval else None,
        interval_method=interval.method if interval else "",
        rounds=len(rounds),
        round_values=[_percent(one) for one in rounds],
        std_rounds=_percent(deviation),
        complete=all(table.is_complete for table in tables),
        counts={name: count for name, count in sorted(counts.items()) if count},
    )


def _std(values: Array) -> float:
    """Population standard deviation, of what is known."""
    known = values[~np.isnan(values)]
    return float(known.std()) if len(known) else float("nan")


def _percent(value: float | Array) -> float | None:
    number = float(value) * 100
    return None if np.isnan(number) else number
