"""``stb ls``: list the runs of the store."""

from __future__ import annotations

from stb_core.cli import console, stb_command
from stb_core.cli.store import opened_store
from stb_evaluator.commands.show import run_row
from stb_evaluator.judges import MODE as VOTES


@stb_command("ls")
async def command(as_json: bool) -> None:
    """List the runs in the store, oldest first."""
    async with opened_store() as store:
        runs = [run for run in await store.runs.all() if run.manifest.mode != VOTES]
        rows = [await run_row(store, run) for run in runs]
    if as_json:
        console.emit_json({"rows": rows})
    elif rows:
        shown = [{**row, "judges": ", ".join(row["judges"])} for row in rows]
        columns = "run", "dataset", "agent", "model", "answers", "expected", "complete", "judges"
        console.emit_table(shown, columns)
    else:
        console.print_note("There are no runs yet. Make one: stb run, or stb import PATH.")
