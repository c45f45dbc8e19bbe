"""Scores, headlines and differences of stored runs, and their pictures, for other rooms; see ``stb_core.plugins``."""

from __future__ import annotations

from collections.abc import Sequence

from stb_core.plugins import Figure
from stb_core.store import Run, Store
from stb_core.values import SOPR
from stb_evaluator.judges import Panel, panel_of_one
from stb_evaluator.reports.plots import draw_comparison
from stb_evaluator.scores import (
    MACRO,
    ResultRow,
    RunReader,
    Side,
    compare_runs,
    coverage_of_side,
    load_queries,
    load_verdict_table,
    rank_runs,
    run_headlines,
    score_rows,
)

_NOBODY = panel_of_one("", "")
"""The judge of a run in which no answer needs one."""


async def scores(store: Store, runs: Sequence[str]) -> list[ResultRow]:
    """The faithful rows of each run, by each judge that judged it; by none where no answer needs one."""
    found: list[ResultRow] = []
    for run in [await store.runs.get(name) for name in runs]:
        reader = RunReader(store, run)
        for panel in await _panels(store, run):
            found += await score_rows(reader, panel, rounds=None, blocks=("faithful",))
    return found


async def differences(store: Store, runs: Sequence[str]) -> list[ResultRow]:
    """The rows of every two runs, by each judge that judged all of them that need one.

    Those of ``macro`` also have ``place`` and ``place_b``: the row of ``rank_runs`` of either run.

    Raises:
        UsageError: two runs have no query in common that is scored in both.
    """
    found_runs = [await store.runs.get(name) for name in runs]
    panels = [await _panels(store, run) for run in found_runs]
    sizes = {run.run: len(await load_queries(store, run)) or None for run in found_runs}
    found: list[ResultRow] = []
    for panel in _common_panels(panels):
        sides = [Side(run, await load_verdict_table(store, run, panel, rounds=None)) for run in found_runs]
        rows = compare_runs(sides, panel)
        covered = {side.run.run: coverage_of_side(side, sizes[side.run.run]) for side in sides}
        places = {place["run"]: place for place in rank_runs(rows, covered)}
        for row in rows:
            if row["group"] == MACRO:
                row |= {"place": places[row["run"]], "place_b": places[row["run_b"]]}
        found += rows
    return found


async def headlines(store: Store, runs: Sequence[str]) -> dict[str, list[str]]:
    """What to know of each run before believing its score, as ``stb score`` prints it."""
    return {run: await run_headlines(RunReader(store, await store.runs.get(run))) for run in runs}


def figures(
    scores: Sequence[ResultRow], differences: Sequence[ResultRow], *, dark: bool = False
) -> list[Figure]:
    """The forest of scores and the matrix of differences, as in a report.

    Raises:
        UsageError: matplotlib is not installed.
    """
    return draw_comparison(scores, differences, dark=dark)


async def _panels(store: Store, run: Run) -> list[Panel]:
    judges = await store.verdicts.judges(run.run, metric=SOPR)
    if not judges and not await store.runs.needs_judge(run.run):
        return [_NOBODY]
    return [panel_of_one(one.judge, one.rubric) for one in judges]


def _common_panels(panels: Sequence[Sequence[Panel]]) -> Sequence[Panel]:
    """The judges of all runs; a run in which no answer needs a judge goes with any."""
    judged = [of_run for of_run in panels if _NOBODY not in of_run]
    if not judged:
        return [_NOBODY] if panels else []
    return [panel for panel in judged[0] if all(panel in of_run for of_run in judged)]
