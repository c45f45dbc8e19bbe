"""Runs beside each other by one judge: their scores, the differences of every two, and the places they may have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from stb_core.errors import StbError
from stb_core.plugins import ScoreRow
from stb_core.store import Run
from stb_server.inspector import standings, verdicts
from stb_server.inspector.context import Inspector
from stb_server.inspector.run_rows import TOTAL, RunRow, describe_state, make_run_rows
from stb_server.inspector.verdicts import NOBODY, JudgeName

MOST_RUNS = 12


@dataclass(frozen=True)
class RunComparison:
    """The comparison of runs by one judge; ``differences`` is None while they are computed."""

    rows: list[RunRow]
    scores: list[ScoreRow]
    differences: list[ScoreRow] | None
    problem: str = ""

    @property
    def is_computed(self) -> bool:
        """Whether all scores and differences are ready."""
        return self.differences is not None and all(row.is_scored for row in self.rows)

    @property
    def totals(self) -> list[ScoreRow]:
        """The differences over all groups."""
        return [row for row in self.differences or () if row["group"] == TOTAL]


async def compare_runs(
    inspector: Inspector, runs: Sequence[Run], judge: JudgeName, until: float, *, best_first: bool
) -> RunComparison:
    """Compare runs in their order, or the best first; what is not ready at ``until`` is left out."""
    store = inspector.store
    rows = await make_run_rows(inspector, runs, until)
    scores: list[ScoreRow] = []
    for row in rows:
        found = await inspector.standings.scores(store, row.run.run, describe_state(row), until=until)
        scores += standings.select_rows(found or (), judge)
    if len(rows) == 1:
        return RunComparison(rows, scores, [])
    if best_first:
        totals = {row["run"]: row["value"] or 0 for row in scores if row["group"] == TOTAL}
        rows.sort(key=lambda row: -totals.get(row.run.run, 0))
        scores.sort(key=lambda row: -totals.get(row["run"], 0))
    state = " ".join(describe_state(row) for row in rows)
    try:
        differences = await inspector.standings.differences(
            store, [row.run.run for row in rows], state, until=until
        )
    except StbError as trouble:
        return RunComparison(rows, scores, [], str(trouble))
    judged = None if differences is None else standings.select_rows(differences, judge)
    return RunComparison(rows, scores, judged)


def find_places(totals: Iterable[ScoreRow]) -> dict[str, ScoreRow]:
    """The places that each run may have, from the differences of every two of them."""
    places: dict[str, ScoreRow] = {}
    for row in totals:
        if "place" in row:
            places |= {row["run"]: row["place"], row["run_b"]: row["place_b"]}
    return places


async def rank_rows(inspector: Inspector, rows: Sequence[RunRow], until: float) -> list[RunRow]:
    """The same rows with the places that the leaderboards of their datasets give them.

    A run in which no answer needs a judge has the place that the busiest judge of its dataset gives it.
    """
    there = await inspector.runs()
    boards: dict[str, tuple[dict[JudgeName, dict[str, ScoreRow]], bool]] = {}
    for dataset in {row.run.dataset for row in rows if row.verdicts}:
        boards[dataset] = await _rank(inspector, [run for run in there if run.dataset == dataset], until)
    ranked: list[RunRow] = []
    for row in rows:
        by_judge, is_ranked = boards.get(row.run.dataset, ({}, True))
        places = {
            judge: places[row.run.run]
            for judge, places in by_judge.items()
            if judge in row.verdicts and row.run.run in places
        }
        if NOBODY in row.verdicts and by_judge and row.run.run in (last := by_judge[list(by_judge)[-1]]):
            places[NOBODY] = last[row.run.run]
        ranked.append(replace(row, places=places, is_ranked=is_ranked))
    return ranked


async def _rank(
    inspector: Inspector, runs: Sequence[Run], until: float
) -> tuple[dict[JudgeName, dict[str, ScoreRow]], bool]:
    """By judge, the places of the latest runs on a dataset by run; and whether all places are ready."""
    judges_by_run = await verdicts.count_verdicts(inspector.store, [run.run for run in runs])
    found: dict[JudgeName, dict[str, ScoreRow]] = {}
    is_ranked = True
    for judge in verdicts.list_judges(judges_by_run):
        board = [run for run in runs if verdicts.goes_with(judges_by_run[run.run], judge)]
        compared = await compare_runs(inspector, board[-MOST_RUNS:], judge, until, best_first=True)
        is_ranked = is_ranked and compared.is_computed
        found[judge] = find_places(compared.totals)
    return found, is_ranked
