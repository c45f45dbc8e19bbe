"""Scores, headlines and differences of stored runs, and their pictures, for other rooms; see ``stb_core.plugins``."""

from __future__ import annotations

from collections.abc import Sequence

from stb_core.plugins import Figure
from stb_core.store import Run, Store
from stb_core.values import SOPR
from stb_evaluator.judges import Panel, PanelMember
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


async def scores(store: Store, runs: Sequence[str]) -> list[ResultRow]:
    """The faithful rows of each run, by each judge that judged it."""
    found: list[ResultRow] = []
    for run in [await store.runs.get(name) for name in runs]:
        reader = RunReader(store, run)
        for member in await _panel_members(store, run):
            found += await score_rows(reader, Panel((member,)), rounds=None, blocks=("faithful",))
    return found


async def differences(store: Store, runs: Sequence[str]) -> list[ResultRow]:
    """The rows of every two runs, by each judge that judged all of them.

    Those of ``macro`` also have ``place`` and ``place_b``: the row of ``rank_runs`` of either run.

    Raises:
        UsageError: two runs have no query in common that is scored in both.
    """
    found_runs = [await store.runs.get(name) for name in runs]
    judged = [await _panel_members(store, run) for run in found_runs]
    sizes = {run.run: len(await load_queries(store, run)) or None for run in found_runs}
    found: list[ResultRow] = []
    for member in judged[0] if judged else []:
        if all(member in members for members in judged):
            panel = Panel((member,))
            sides = [
                Side(run, await load_verdict_table(store, run, panel, rounds=None)) for run in found_runs
            ]
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


async def _panel_members(store: Store, run: Run) -> list[PanelMember]:
    judges = await store.verdicts.judges(run.run, metric=SOPR)
    return [PanelMember(one.judge, one.rubric) for one in judges]
