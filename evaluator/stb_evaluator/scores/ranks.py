"""Ranks of runs by the macro score: the places that each may have, and the runs that have none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stb_core.values import count_noun
from stb_evaluator.scores.comparison import Side
from stb_evaluator.scores.pass_rate import MACRO, MICRO, ResultRow
from stb_evaluator.scores.points import faithful_table
from stb_evaluator.statistics import rank_bounds

# Differences that are 0 but for rounding; in points.
_TIE = 1e-9
# What a score may lack: the noun that is counted, and what became of it.
_LACKS = {
    "missing": ("answer", "missing"),
    "infrastructure": ("trial", "lost to infrastructure"),
    "error": ("verdict", "failed"),
    "unjudged": ("verdict", "missing"),
    "unknown_groups": ("group", "of unknown queries"),
}


@dataclass(frozen=True)
class Coverage:
    """How much of its dataset a run covers: the queries that it was to answer, and those of the dataset.

    ``n_dataset`` is None if the dataset is not in the store. ``lacks`` says in words what is missing of
    the run; "" if nothing is.
    """

    n_total: int
    n_dataset: int | None = None
    lacks: str = ""


def coverage_of_rows(scores: Sequence[ResultRow]) -> dict[str, Coverage]:
    """The coverage of runs from their faithful rows."""
    return {
        row["run"]: Coverage(row["n_total"], row["n_dataset"], lacks_in_words(row["counts"]))
        for row in scores
        if row["group"] == MICRO and row["block"] == "faithful"
    }


def coverage_of_side(side: Side, n_dataset: int | None) -> Coverage:
    """The coverage of a run that is compared; ``n_dataset`` counts the queries of its dataset."""
    counts = sum((faithful_table(side.table, group).counts for group in side.table.expected), Counter[str]())
    n_total = sum(map(len, side.table.expected.values()))
    return Coverage(n_total, n_dataset, lacks_in_words(counts))


def lacks_in_words(counts: Mapping[str, int]) -> str:
    """What is missing of a score, as ``3 answers missing``; "" if it is complete."""
    return ", ".join(
        f"{count_noun(counts[name], noun)} {fate}"
        for name, (noun, fate) in _LACKS.items()
        if counts.get(name)
    )


def rank_runs(differences: Sequence[ResultRow], coverage: Mapping[str, Coverage]) -> list[ResultRow]:
    """The rank of every run by the macro score, with bounds that hold for all ranks together at 95 %.

    Runs with the same score share a rank. A run that is incomplete, or was not to answer the same queries as the
    run with the most of them, has none, and ``unranked`` says why; such runs come last.

    Args:
        differences: the rows of ``compare_runs`` for every two of the runs.
        coverage: of every run that is to be listed.
    """
    macro = {(row["run"], row["run_b"]): row for row in differences if row["group"] == MACRO}
    reasons = _reasons(macro, coverage)
    ranked = [run for run in coverage if not reasons[run]]
    return [*_ranks(ranked, macro), *(_unranked(run, reasons[run]) for run in coverage if reasons[run])]


def _reasons(macro: Mapping[tuple[str, str], ResultRow], coverage: Mapping[str, Coverage]) -> dict[str, str]:
    """By run, why it has no rank; "" if it has one."""
    widest = max(coverage, key=lambda run: (coverage[run].n_total, not coverage[run].lacks), default="")
    reasons: dict[str, str] = {}
    for run, covered in coverage.items():
        row = macro.get((run, widest)) or macro.get((widest, run))
        reasons[run] = covered.lacks and f"incomplete: {covered.lacks}"
        if run == widest:
            continue
        n_whole = max(covered.n_dataset or 0, coverage[widest].n_total)
        if covered.n_total < n_whole and covered.n_total < coverage[widest].n_total:
            reasons[run] = f"{covered.n_total:,} of {n_whole:,} queries"
        elif row is None or row["n_total"] < covered.n_total:
            reasons[run] = f"other queries than those of {widest}"
        elif row["value"] is None and not reasons[run]:
            reasons[run] = "cannot be compared"
    return reasons


def _ranks(runs: Sequence[str], macro: Mapping[tuple[str, str], ResultRow]) -> list[ResultRow]:
    if not runs:
        return []
    if len(runs) == 1:
        return [_ranked(runs[0], 1, 1, 1)]
    pairs: list[tuple[int, int, float, float]] = []
    for first, one in enumerate(runs):
        for second in range(first + 1, len(runs)):
            row, sign = macro.get((one, runs[second])), 1
            if row is None:
                row, sign = macro[runs[second], one], -1
            value = 0.0 if abs(row["value"]) < _TIE else sign * row["value"]
            pairs.append((first, second, value, row["p"]))
    found = zip(runs, rank_bounds(pairs), strict=True)
    return [_ranked(run, bounds.rank, bounds.low, bounds.high) for run, bounds in found]


def _ranked(run: str, rank: int, low: int, high: int) -> ResultRow:
    return {"run": run, "rank": rank, "rank_low": low, "rank_high": high, "unranked": ""}


def _unranked(run: str, reason: str) -> ResultRow:
    return {"run": run, "rank": None, "rank_low": None, "rank_high": None, "unranked": reason}
