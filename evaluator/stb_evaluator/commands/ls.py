"""``stb ls``: list the runs of the store."""

from __future__ import annotations

from typing import Any

from stb_core.cli import console, stb_command
from stb_core.cli.store import opened_store
from stb_evaluator.commands.show import run_row
from stb_evaluator.judges import MODE as VOTES


@stb_command("ls")
async def command(as_json: bool) -> None:
    """List the runs in the store, oldest first."""
    async with opened_store() as store:
        runs = [run for run in await store.runs.all() if run.manifest.mode != VOTES]
        sizes = await store.datasets.query_counts()
        rows = [await run_row(store, run, n_dataset=sizes.get(run.dataset)) for run in runs]
    if as_json:
        console.emit_json({"rows": rows})
    elif rows:
        shown = [
            {**row, "judges": ", ".join(row["judges"]), "answers": _answers(row), "queries": _queries(row)}
            for row in rows
        ]
        console.emit_table(
            shown, ("run", "dataset", "agent", "model", "queries", "answers", "complete", "judges")
        )
    else:
        console.print_note("There are no runs yet. Make one: stb run, or stb import PATH.")


def _queries(row: dict[str, Any]) -> str:
    """How many queries of its dataset a run covers: ``765``, or ``12 of 765`` for a subset."""
    return f"{row['queries']:,} of {row['n_dataset']:,}" if row["subset"] else f"{row['queries']:,}"


def _answers(row: dict[str, Any]) -> str:
    others = f", {row['other_answers']:,} to other queries" if row["other_answers"] else ""
    return f"{row['answers']:,} of {row['expected']:,}{others}"
