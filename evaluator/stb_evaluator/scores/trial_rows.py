"""Rows of a run with several trials: how often one of k trials solves a query (pass@k), and how often all k do (pass^k)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from stb_core.store import Run
from stb_core.values import group_order
from stb_evaluator.judges import Panel
from stb_evaluator.scores.pass_rate import MACRO, MICRO, ResultRow
from stb_evaluator.scores.points import faithful_table
from stb_evaluator.scores.verdict_table import VerdictTable
from stb_evaluator.scores.win_rate import solved_by_majority
from stb_evaluator.statistics import mean_interval, pass_hat_k
from stb_evaluator.statistics.pass_at_k import pass_at_k

PASS_K = "pass@k"  # noqa: S105 - no password
TRIALS = "trials"
MEASURES = {"pass@": pass_at_k, "pass^": pass_hat_k}


def trial_rows(run: Run, table: VerdictTable, panel: Panel, *, seed: int = 0) -> list[ResultRow]:
    """Both measures in percent for every k up to the number of trials, by group, ``macro`` and ``micro``.

    A trial solves a query if a majority of its verdicts says so, and a missing trial does not. A query with an undecided trial, because a
    judge failed or has not been asked, is left out and counted.
    """
    solved = _solved(table)
    groups = sorted(table.expected, key=group_order)
    counts = {group: faithful_table(table, group).counts for group in groups}
    return [
        _row(run, panel, f"{name}{k}", group, places, solved, counts, k, seed=seed)
        for name in MEASURES
        for k in range(1, table.trials + 1)
        for group, places in _by_group(table, groups)
    ]


def _solved(table: VerdictTable) -> dict[tuple[str, str], list[bool]]:
    """Whether each trial of a query solved it; only queries all of whose trials are decided."""
    found: dict[tuple[str, str], list[bool]] = {}
    for group, ids in table.expected.items():
        for query_id in ids:
            solved = [solved_by_majority(table, (group, query_id, trial)) for trial in range(table.trials)]
            known = [one for one in solved if one is not None]
            if len(known) == table.trials:
                found[group, query_id] = known
    return found


def _by_group(table: VerdictTable, groups: Sequence[str]) -> list[tuple[str, list[tuple[str, str]]]]:
    places = {group: [(group, query_id) for query_id in table.expected[group]] for group in groups}
    everything = [place for mine in places.values() for place in mine]
    return [*places.items(), (MACRO, everything), (MICRO, everything)]


def _row(
    run: Run,
    panel: Panel,
    metric: str,
    group: str,
    places: Sequence[tuple[str, str]],
    solved: dict[tuple[str, str], list[bool]],
    counts: dict[str, Counter[str]],
    k: int,
    *,
    seed: int,
) -> ResultRow:
    known = [place for place in places if place in solved]
    found = sum((counts[name] for name in counts if group in {name, MACRO, MICRO}), Counter[str]())
    row: ResultRow = {
        "run": run.run,
        "metric": metric,
        "block": TRIALS,
        "group": group,
        **dict.fromkeys(("value", "ci_low", "ci_high")),
        "interval_method": "",
        "unit": "%",
        "n": len(known),
        "n_total": len(places),
        "n_error": len(places) - len(known),
        "missing": found["missing"],
        "trials": run.trials,
        "complete": len(known) == len(places) and not (found["missing"] or found["unknown_groups"]),
        "counts": {name: count for name, count in sorted(found.items()) if count},
        "judge": panel.name,
        "rubric": panel.rubric,
        "manifest_hash": run.manifest.hash,
    }
    if not known:
        return row
    measure = MEASURES[metric.rstrip("0123456789")]
    values = measure(run.trials, np.array([sum(solved[place]) for place in known]), k)
    names = [place[0] for place in known]
    interval = mean_interval(
        values, groups=names, weighting="micro" if group == MICRO else "macro", seed=seed
    )
    sizes = [names.count(name) for name in names]
    weights = np.ones(len(known)) if group == MICRO else 1 / np.array(sizes)
    value = float(np.average(values, weights=weights))
    interval = interval.around(value).scaled(100)
    return row | {
        "value": 100 * value,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "interval_method": interval.method,
    }
