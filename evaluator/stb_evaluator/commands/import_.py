"""``stb import``: import other people's runs, answers and verdicts."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from stb_core.cli import console, stb_command
from stb_core.cli.store import opened_store
from stb_evaluator.judges import IMPORTED
from stb_evaluator.transfer import (
    NO_DATASET,
    ImportSummary,
    Merged,
    import_answers,
    is_bundle,
    merge_bundle,
    read_bundle,
    source_name,
)

_SHOWN = 20


@stb_command("import")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--dataset",
    "-d",
    default="",
    help=f"Dataset whose queries are the denominator; detected by default, '{NO_DATASET}' for no dataset.",
)
@click.option("--name", default="", help="Name of the run, if PATH holds one system.")
async def command(path: Path, dataset: str, name: str, as_json: bool) -> None:
    """Import runs: bundles, pass_rate_results, preference_results, converted and raw answers.

    Every system becomes one run, named after its folder. Importing the same files again adds nothing.
    """
    if is_bundle(path):
        async with opened_store() as store:
            merged = await merge_bundle(store, read_bundle(path), name, source=source_name(path))
        _show_merged(merged, as_json=as_json)
        if merged.refused:
            sys.exit(1)
        return
    async with opened_store() as store:
        with console.progress(quiet=as_json) as bar:
            task = bar.add_task("Reading", total=None, note="")
            summary = await import_answers(
                store,
                path,
                dataset=dataset,
                name=name,
                advance=lambda done, total: bar.update(task, completed=done, total=total),
            )
    _show(summary, as_json=as_json)
    if summary.skipped:
        sys.exit(1)


def _show_merged(merged: Merged, *, as_json: bool) -> None:
    for reason, count in merged.refused.items():
        console.print_note(f"{merged.run}: {count} verdicts of the bundle were not imported: {reason}.")
    if merged.foreign:
        console.print_note(
            f"{merged.run}: {merged.foreign} verdicts of the bundle do not belong to the run, and do not count in its"
            f" scores. To count them: stb score {merged.run} --judge {IMPORTED}{merged.source}"
        )
    row = {**asdict(merged), "refused": sum(merged.refused.values())}
    if as_json:
        console.emit_json({"rows": [row]})
        return
    columns = "run", "dataset", "queries", "verdicts", "new_queries:new queries", "new_verdicts:new verdicts"
    console.emit_table([row], columns)


def _show(summary: ImportSummary, *, as_json: bool) -> None:
    rows: list[dict[str, Any]] = [{**asdict(run), "missing": run.missing} for run in summary.runs]
    _tell_what_lacks(summary)
    if as_json:
        skipped_rows = [
            {"path": str(one.path), "query": one.query_id, "reason": one.reason} for one in summary.skipped
        ]
        votes = [asdict(one) for one in summary.votes]
        document = {"rows": rows, "votes": votes, "dataset": summary.dataset, "skipped": skipped_rows}
        console.emit_json(document)
        return
    columns = "run", "kind", "dataset", "groups", "queries", "expected", "missing", "verdicts"
    if rows:
        console.emit_table(rows, [*columns, "new_queries:new queries", "new_verdicts:new verdicts"])
    if summary.votes:
        shown = [asdict(one) for one in summary.votes]
        console.emit_table(shown, ("run", "run_b", "group", "queries", "votes", "new_votes:new votes"))


def _tell_what_lacks(summary: ImportSummary) -> None:
    """Notes on what was skipped, and on answers that are missing or left over."""
    for skipped in summary.skipped[:_SHOWN]:
        console.print_note(f"skipped: {skipped}")
    if len(summary.skipped) > _SHOWN:
        console.print_note(f"skipped: {len(summary.skipped) - _SHOWN} more; --json lists all")
    if summary.dataset is None and summary.runs:
        console.print_note(
            "NOTE: no dataset of this store has these queries, so each group's denominator is the union"
            " of the answers imported here, and answers that every system lacks go unnoticed."
            " Import the dataset first (stb data import PATH --name NAME) or name it with --dataset."
        )
    for run in summary.runs:
        if summary.dataset is not None and run.dataset != summary.dataset:
            console.print_note(
                f"NOTE: {summary.dataset} has none of the groups of {run.run}, so its denominator is the union of the"
                " answers imported here."
            )
        if run.missing:
            console.print_note(f"NOTE: {run.run} has no answer to {run.missing} of {run.expected} queries.")
        if run.not_in_dataset:
            console.print_note(
                f"NOTE: {run.run} answers {run.not_in_dataset} queries that the dataset does not have;"
                " they are kept, but not scored."
            )
