"""Comparing runs query by query: differences with intervals and tests, for every two runs.

Only queries that both runs cover, and that have a score in both, can be compared. Queries that are left out
are counted, and so are missing verdicts. Of a group in which one of the runs has no answer at all, nothing is
concluded. Differences are in percentage points, first run minus second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

import numpy as np

from stb_core.errors import UsageError
from stb_core.store import Run
from stb_core.values import SOPR, Manifest, StopReason, group_order
from stb_evaluator.judges import Panel
from stb_evaluator.scores.pass_rate import MACRO, MICRO, ResultRow, query_scores
from stb_evaluator.scores.points import errors_by_group
from stb_evaluator.scores.verdict_table import VerdictTable
from stb_evaluator.scores.win_rate import solved_by_majority
from stb_evaluator.statistics import (
    Comparison,
    compare,
    detectable_difference,
    holm,
    mcnemar,
    queries_needed,
)

QueryPlace = tuple[str, str]


@dataclass(frozen=True)
class Side:
    """One of the runs to compare, with its verdicts."""

    run: Run
    table: VerdictTable


def compare_runs(
    sides: Sequence[Side],
    panel: Panel,
    *,
    clusters: Mapping[QueryPlace, str] | None = None,
    seed: int = 0,
) -> list[ResultRow]:
    """The rows of every pair: groups, ``macro`` and ``micro``.

    With ``clusters``, the names of clusters by (group, query id), queries of one cluster are
    resampled together. ``n_error`` counts what has no score in either run.

    p-values are adjusted by Holm's method, see ``adjust_p_values``.

    Raises:
        UsageError: no two of the runs have a common query with a score in both.
    """
    rows = [row for one, other in combinations(sides, 2) for row in _pair(one, other, clusters, seed)]
    if not any(row["n"] for row in rows):
        raise UsageError(
            f"{' and '.join(side.run.run for side in sides)} have no scored query in common.",
            hint="Compare runs on the same dataset, judged by the same judge.",
        )
    adjust_p_values(rows)
    return [{**row, "judge": panel.name, "rubric": panel.rubric} for row in rows]


def adjust_p_values(rows: Sequence[ResultRow]) -> None:
    """Fill in ``p_holm``: groups over all groups and pairs, ``macro`` and ``micro`` each over all pairs."""
    for family in ({MACRO}, {MICRO}, {row["group"] for row in rows} - {MACRO, MICRO}):
        mine = [row for row in rows if row["group"] in family and row["p"] is not None]
        if mine:
            for row, adjusted in zip(mine, holm([row["p"] for row in mine]), strict=True):
                row["p_holm"] = float(adjusted)


def comparison_warnings(sides: Sequence[Side]) -> list[str]:
    """Reasons to doubt a comparison; each line begins with WARNING."""
    found: list[str] = []
    for one, other in combinations((side.run for side in sides), 2):
        differing = [
            f"{name} ({left or 'unknown'} and {right or 'unknown'})"
            for name, left, right in _grounds(one, other)
            if left != right
        ]
        if differing:
            found.append(f"WARNING: {one.run} and {other.run} differ in {', '.join(differing)}.")
        if one.expected != other.expected:
            found.append(
                f"WARNING: {one.run} and {other.run} cover different queries"
                f"{_groups_of_one(one, other)}; only common queries are compared."
            )
    return found + [line for one, other in combinations(sides, 2) for line in _unanswered_groups(one, other)]


def _groups_of_one(one: Run, other: Run) -> str:
    """The groups that only one of the runs was to answer, in brackets."""
    parts = [
        f"only {run.run} covers {', '.join(sorted(names, key=group_order))}"
        for run, rival in ((one, other), (other, one))
        if (names := run.expected.keys() - rival.expected.keys())
    ]
    return f" ({'; '.join(parts)})" if parts else ""


def _unanswered_groups(one: Side, other: Side) -> list[str]:
    """A warning for each run that lacks whole groups of those that both were to answer."""
    groups = sorted({group for group, _ in _shared(one, other)}, key=group_order)
    return [
        f"WARNING: {side.run.run} has no answer in {', '.join(lacked)}, so nothing is concluded there, and macro and"
        f" micro of {one.run.run} and {other.run.run} are over the other groups."
        for side in (one, other)
        if (lacked := [group for group in groups if _lacks(side.table, group)])
    ]


def _lacks(table: VerdictTable, group: str) -> bool:
    """Whether no trial of a group has an answer, whatever it is worth."""
    return not any(
        (answer := table.answers.get((group, query_id, trial))) is not None
        and answer.stop is not StopReason.INFRASTRUCTURE
        for query_id in table.expected[group]
        for trial in range(table.trials)
    )


def _shared(one: Side, other: Side) -> list[QueryPlace]:
    covered = set(_expected(other.table))
    return [place for place in _expected(one.table) if place in covered]


def _grounds(one: Run, other: Run) -> list[tuple[str, str, str]]:
    a, b = one.manifest, other.manifest
    return [
        ("dataset", a.dataset, b.dataset),
        ("dataset content", a.dataset_hash[:12], b.dataset_hash[:12]),
        ("snapshot of responses", a.snapshot_hash[:12], b.snapshot_hash[:12]),
        ("cache mode", a.mode, b.mode),
        ("trials", str(a.trials), str(b.trials)),
        ("tools offered", _offered(a), _offered(b)),
        ("simulator and faults", _served(a), _served(b)),
    ]


def _offered(manifest: Manifest) -> str:
    """How the tools that a query offers were selected."""
    tools = manifest.selection.get("tools")
    return f"{tools['k']} by {tools['retriever']}, {tools['index_hash'][:12]}" if tools else "as given"


def _served(manifest: Manifest) -> str:
    """What else of the server could change an answer."""
    return ", ".join(f"{name} {value}" for name, value in sorted(manifest.server.items())) or "none"


def _pair(one: Side, other: Side, clusters: Mapping[QueryPlace, str] | None, seed: int) -> list[ResultRow]:
    first, second = query_scores(one.table), query_scores(other.table)
    shared = _shared(one, other)
    groups = sorted({group for group, _ in shared}, key=group_order)
    lacked = {group for group in groups if _lacks(one.table, group) or _lacks(other.table, group)}
    scored = [place for place in shared if place in first and place in second and place[0] not in lacked]
    errors = errors_by_group(one.table, shared) + errors_by_group(other.table, shared)
    rows: list[ResultRow] = []
    for name in [*groups, MACRO, MICRO]:
        mine = [place for place in scored if name in {place[0], MACRO, MICRO}]
        asked = [place for place in shared if name in {place[0], MACRO, MICRO}]
        n_error = sum(count for group, count in errors.items() if name in {group, MACRO, MICRO})
        missing, missing_b = _missing(one.table, asked), _missing(other.table, asked)
        micro = name == MICRO
        found = _compare(mine, first, second, clusters, micro=micro, seed=seed) if mine else None
        rows.append(
            {
                "run": one.run.run,
                "run_b": other.run.run,
                "metric": SOPR,
                "block": "faithful",
                "group": name,
                **(_fields(found, mine, first, second, micro=micro) if found else _no_fields()),
                **_passes(one, other, mine),
                "n_total": len(asked),
                "groups_left_out": [
                    group for group in groups if group in lacked and name in {group, MACRO, MICRO}
                ],
                "n_error": n_error,
                "missing": missing,
                "missing_b": missing_b,
                "complete": not (n_error or missing or missing_b),
            }
        )
    return rows


def _passes(one: Side, other: Side, places: Sequence[QueryPlace]) -> ResultRow:
    """Pass or fail by the majority of verdicts: the queries that one run alone passes, and McNemar's p.

    For runs of one trial; with several a query has no single pass or fail.
    """
    only_one = only_other = 0
    if one.table.trials != 1 or other.table.trials != 1:
        return {"n_only_a": None, "n_only_b": None, "p_mcnemar": None}
    for group, query_id in places:
        place = (group, query_id, 0)
        a, b = solved_by_majority(one.table, place), solved_by_majority(other.table, place)
        if a is not None and b is not None:
            only_one += a and not b
            only_other += b and not a
    return {"n_only_a": only_one, "n_only_b": only_other, "p_mcnemar": mcnemar(only_one, only_other).p}


def _expected(table: VerdictTable) -> list[QueryPlace]:
    return [(group, query_id) for group, ids in table.expected.items() for query_id in ids]


def _missing(table: VerdictTable, places: Sequence[QueryPlace]) -> int:
    """Trials without any trajectory; they count as unsolved."""
    return sum((*place, trial) not in table.answers for place in places for trial in range(table.trials))


def _compare(
    places: Sequence[QueryPlace],
    first: Mapping[QueryPlace, float],
    second: Mapping[QueryPlace, float],
    clusters: Mapping[QueryPlace, str] | None,
    *,
    micro: bool,
    seed: int,
) -> Comparison:
    """With clusters never more certain than without: a few clusters that happen to agree prove nothing."""
    compare_by = partial(
        compare,
        np.array([first[place] for place in places]),
        np.array([second[place] for place in places]),
        groups=[group for group, _ in places],
        weighting="micro" if micro else "macro",
        seed=seed,
    )
    plain = compare_by()
    if not clusters:
        return plain
    found = compare_by(clusters=[clusters.get(place, "/".join(place)) for place in places])
    return replace(
        found,
        interval=found.interval.covering(plain.interval),
        standard_error=max(found.standard_error, plain.standard_error),
        significance=max(found.significance, plain.significance, key=lambda test: test.p),
    )


def _fields(
    found: Comparison,
    places: Sequence[QueryPlace],
    first: Mapping[QueryPlace, float],
    second: Mapping[QueryPlace, float],
    *,
    micro: bool,
) -> ResultRow:
    interval = found.interval.around(found.difference).scaled(100)
    return {
        "value": found.difference * 100,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "interval_method": found.interval.method,
        "p": found.significance.p,
        "p_holm": None,
        "test": found.significance.method,
        "detectable": detectable_difference(found.standard_error) * 100,
        "queries_for_2_points": _needed(found),
        "value_a": _mean(places, first, micro=micro),
        "value_b": _mean(places, second, micro=micro),
        "n": found.n,
        "n_better": found.n_first,
        "n_worse": found.n_second,
        "n_equal": found.n - found.n_first - found.n_second,
    }


def _no_fields() -> ResultRow:
    """The fields of a row of which nothing can be said."""
    values = "value", "ci_low", "ci_high", "p", "p_holm", "test", "detectable", "queries_for_2_points"
    counts = dict.fromkeys(("n", "n_better", "n_worse", "n_equal"), 0)
    return {**dict.fromkeys((*values, "value_a", "value_b")), "interval_method": "", **counts}


def _needed(found: Comparison) -> int:
    """How many such queries would detect a true difference of two points."""
    return queries_needed(0.02, found.standard_error * found.n**0.5)


def _mean(places: Sequence[QueryPlace], scores: Mapping[QueryPlace, float], *, micro: bool) -> float:
    """The mean score in percent: over queries, or over groups."""
    by_group: dict[str, list[float]] = {}
    for place in places:
        by_group.setdefault(place[0], []).append(scores[place])
    if micro:
        return float(np.mean([value for values in by_group.values() for value in values])) * 100
    return float(np.mean([np.mean(values) for values in by_group.values()])) * 100
