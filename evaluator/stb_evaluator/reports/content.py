"""What a report says, before it is written in any form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import numpy as np
import yaml

from stb_core.store import Store
from stb_core.values import POINTS, SOPR
from stb_evaluator.judges import Panel
from stb_evaluator.scores import (
    BLOCKS,
    ResultRow,
    RunReader,
    Side,
    VerdictTable,
    compare_runs,
    comparison_warnings,
    coverage_of_rows,
    faithful_table,
    headline,
    measure_rows,
    rank_runs,
    run_headlines,
    score_rows,
    unsimulated_rows,
)
from stb_evaluator.statistics import fleiss_kappa, krippendorff_alpha, unanimous_share


@dataclass(frozen=True)
class Published:
    """A table that others published; cells by system, then group, as they were printed."""

    title: str
    source: str
    judge: str
    date: str
    groups: list[str]
    rows: dict[str, list[str]]


@dataclass(frozen=True)
class Report:
    """All rows of a report; every figure and table is made from them alone."""

    title: str
    lines: list[str]
    runs: list[ResultRow]
    scores: list[ResultRow]
    comparisons: list[ResultRow]
    measures: list[ResultRow]
    consistency: list[ResultRow]
    published: list[Published] = field(default_factory=list)
    ranks: list[ResultRow] = field(default_factory=list)
    unsimulated: list[ResultRow] = field(default_factory=list)
    queries: list[ResultRow] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every score is."""
        return all(row["complete"] for row in self.scores)


async def gather(
    store: Store,
    sides: Sequence[Side],
    panel: Panel,
    *,
    rounds: int | None,
    title: str,
    published: bool = False,
    seed: int = 0,
) -> Report:
    """Collect everything about these runs, without asking for verdicts."""
    scores: list[ResultRow] = []
    measures: list[ResultRow] = []
    unsimulated: list[ResultRow] = []
    doubts: list[str] = []
    for side in sides:
        reader = RunReader(store, side.run, keep_trajectories=True)
        scores += await score_rows(reader, panel, rounds=rounds, blocks=BLOCKS, seed=seed)
        unsimulated += await unsimulated_rows(reader, panel, rounds=rounds, metric=SOPR, seed=seed)
        measures += await measure_rows(reader, seed=seed)
        doubts += await run_headlines(reader)
    comparisons = compare_runs(sides, panel, seed=seed) if len(sides) > 1 else []
    return Report(
        title=title,
        lines=[*headline(scores), *doubts, *comparison_warnings(sides)],
        runs=[_run_row(side, panel) for side in sides],
        scores=scores,
        comparisons=comparisons,
        measures=measures,
        consistency=[consistency_row(side.run.run, side.table, panel) for side in sides],
        published=load_published() if published else [],
        unsimulated=unsimulated,
        ranks=rank_runs(comparisons, coverage_of_rows(scores)) if len(sides) > 2 else [],
        queries=[row for side in sides for row in query_rows(side)],
    )


def query_rows(side: Side) -> list[ResultRow]:
    """The faithful score of every query of a run, in percent; None where verdicts or a trial are lost."""
    return [
        {
            "run": side.run.run,
            "group": group,
            "query_id": query_id,
            "value": None if np.isnan(value) else float(value) * 100,
        }
        for group in side.table.expected
        for table in [faithful_table(side.table, group)]
        for query_id, value in zip(table.ids, table.all_queries, strict=True)
    ]


def _run_row(side: Side, panel: Panel) -> ResultRow:
    run, manifest = side.run, side.run.manifest
    return {
        "run": run.run,
        "dataset": run.dataset,
        "dataset_hash": manifest.dataset_hash,
        "snapshot_hash": manifest.snapshot_hash,
        "agent": run.agent,
        "model": run.model,
        "mode": manifest.mode,
        "trials": run.trials,
        "seed": manifest.seed,
        "judge": panel.name,
        "rubric": panel.rubric,
        "manifest_hash": manifest.hash,
        "created_at": run.created_at,
    }


def consistency_row(run: str, verdict_table: VerdictTable, panel: Panel) -> ResultRow:
    """How much the rounds of a panel agree, over the answers that were judged in all rounds."""
    ratings = _ratings(verdict_table)
    row: ResultRow = {"run": run, "judge": panel.name, "n": len(ratings), "rounds": verdict_table.n_rounds}
    if len(ratings) == 0 or verdict_table.n_rounds < 2:
        return row | {"unanimous": None, "fleiss_kappa": None, "krippendorff_alpha": None}
    return row | {
        "unanimous": unanimous_share(ratings) * 100,
        "fleiss_kappa": _or_none(fleiss_kappa, ratings),
        "krippendorff_alpha": _or_none(lambda r: krippendorff_alpha(r, metric="ordinal"), ratings),
    }


def _ratings(verdict_table: VerdictTable) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Points of verdicts, shape (answers, rounds), of answers judged readably in every round."""
    table = [
        [
            POINTS.get(mark.status, np.nan) if (mark := verdict_table.marks.get((*place, number))) else np.nan
            for number in range(verdict_table.n_rounds)
        ]
        for place, answer in sorted(verdict_table.answers.items())
        if answer.answer_hash
    ]
    ratings = np.array(table, dtype=np.float64).reshape(len(table), verdict_table.n_rounds)
    return ratings[~np.isnan(ratings).any(axis=1)]


def _or_none(measure: Any, ratings: Any) -> float | None:
    try:
        return float(measure(ratings))
    except ValueError:
        return None


def load_published() -> list[Published]:
    """The published tables that come with this version."""
    text = (resources.files(__package__) / "published.yaml").read_text(encoding="utf-8")
    return [
        Published(
            title=table["title"],
            source=table["source"],
            judge=table["judge"],
            date=str(table["date"]),
            groups=table["groups"],
            rows={name: [str(cell) for cell in cells] for name, cells in table["rows"].items()},
        )
        for table in yaml.safe_load(text)
    ]
