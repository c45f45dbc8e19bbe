"""``stb rm``: delete runs."""

from __future__ import annotations

import click

from stb_core.cli import console, stb_command
from stb_core.cli.store import opened_store


@stb_command("rm")
@click.argument("runs", nargs=-1, required=True)
async def command(runs: tuple[str, ...], as_json: bool) -> None:
    """Delete runs with their trajectories and verdicts. This cannot be undone."""
    async with opened_store() as store:
        found = [await store.runs.get(name) for name in runs]
        for run in found:
            await store.runs.remove(run.run)
    if as_json:
        console.emit_json({"rows": [{"run": run.run} for run in found]})
    else:
        click.echo(f"Removed: {', '.join(run.run for run in found)}.")
