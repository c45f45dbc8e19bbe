"""Printing the result of ``stb score``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from stb_core.cli import console
from stb_core.values import measure_text
from stb_evaluator.judges import METRICS
from stb_evaluator.scores import (
    BLOCKS,
    CORRECTED,
    MACRO,
    MICRO,
    QUALITY,
    TRAJECTORY,
    TRIALS,
    UNSIMULATED,
    ResultRow,
    faults,
    headline,
)
from stb_evaluator.scores.cells import groups_of, score_cell, starred
from stb_evaluator.scores.trial_facts import share_columns


def show(
    rows: Sequence[ResultRow],
    notes: Sequence[str] = (),
    anchors: Sequence[Mapping[str, Any]] = (),
    *,
    as_json: bool,
) -> None:
    """Print rows: one JSON document, or headline and notes, then one table per metric and block.

    ``anchors`` says what judges were asked again; the table has no place for it, a note has told it.
    """
    scores = [row for row in rows if row["block"] in BLOCKS]
    tried = [row for row in rows if row["block"] == TRIALS]
    lines = list(dict.fromkeys([*headline(scores), *faults(tried), *notes]))
    if as_json:
        console.emit_json({"headline": lines, "rows": rows, "anchors": list(anchors)})
        return
    for line in lines:
        click.echo(line)
    for metric, block in dict.fromkeys((row["metric"], row["block"]) for row in scores):
        mine = [row for row in scores if (row["metric"], row["block"]) == (metric, block)]
        console.emit_table(*_table(mine, f"{block} {METRICS[metric].label}, %"))
    totals = {row["run"]: row for row in scores if row["group"] == MICRO and row["n_calls"]}
    if totals:
        console.emit_table(*_origins(list(totals.values())))
    unsimulated = [row for row in rows if row["block"] == UNSIMULATED]
    for metric in dict.fromkeys(row["metric"] for row in unsimulated):
        mine = [row for row in unsimulated if row["metric"] == metric]
        title = f"{METRICS[metric].label} of trials without made-up answers, %"
        console.emit_table(*_table(mine, title))
    corrected = [row for row in rows if row["block"] in {CORRECTED, QUALITY}]
    if corrected:
        shown = [{**row, **_measure_cells(row)} for row in corrected]
        columns = "run", "judge", "metric", "block", "group", "value", "interval:95 %", "n", "n_labelled"
        console.emit_table(shown, columns)
    tried = [row for row in tried if row["group"] in {MACRO, MICRO}]
    if tried:
        shown = [{**row, **_measure_cells(row)} for row in tried]
        columns = "run", "judge", "metric", "group", "value", "interval:95 %", "trials", "n", "n_total"
        console.emit_table(shown, columns)
    measured = [row for row in rows if row["block"] == TRAJECTORY and row["group"] == MICRO]
    if measured:
        shown = [{**row, **_measure_cells(row)} for row in measured]
        console.emit_table(shown, ("run", "metric:measure", "value", "interval:95 %", "unit", "n"))


def _table(rows: Sequence[ResultRow], title: str) -> tuple[list[dict[str, Any]], list[str]]:
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        line = lines.setdefault((row["run"], row["judge"]), {"run": row["run"], "judge": row["judge"]})
        line[row["group"]] = score_cell(row)
    return list(lines.values()), [f"run:{title}", "judge", *groups_of(rows)]


def _origins(rows: Sequence[ResultRow]) -> tuple[list[dict[str, Any]], list[str]]:
    """Where the answers to the calls of each run came from."""
    columns = share_columns(rows)
    lines = [
        {"run": row["run"], "calls": row["n_calls"], **{name: f"{row[name]:.1f}" for name in columns}}
        for row in rows
    ]
    heads = [f"{name}:{words}" for name, words in columns.items()]
    return lines, ["run:provenance of answers, %", "calls", *heads]


def _measure_cells(row: ResultRow) -> dict[str, str]:
    """Value and interval of a measure, with the same digits; an incomplete value carries a star."""
    value, _, ends = measure_text(row["value"], row["ci_low"], row["ci_high"], row["unit"]).partition(" ")
    return {"value": starred(value, row), "interval": ends}
