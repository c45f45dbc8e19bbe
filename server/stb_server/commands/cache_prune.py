"""``stb cache prune``: let go of superseded versions that are older than one wants to keep."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from stb_core.cli import console
from stb_core.cli.program import stb_command
from stb_core.cli.store import choose_dataset, opened_store
from stb_core.errors import UsageError
from stb_core.store import retention


@stb_command("prune")
@click.argument("dataset", default="")
@click.option(
    "--older-than",
    type=click.FloatRange(0),
    default=90.0,
    show_default=True,
    help="Days for which superseded versions are kept.",
)
@click.option("--yes", is_flag=True, help="Really remove them.")
async def prune(dataset: str, older_than: float, yes: bool, as_json: bool) -> None:
    """Remove superseded versions of answers; what is in force, and its hash, stay as they are.

    What a snapshot shows stays, and so does the last version of every call. Removed versions are
    gone for good: make a backup first (stb backup).
    """
    moment = datetime.now(UTC) - timedelta(days=older_than)
    before = moment.isoformat(timespec="microseconds")
    async with opened_store() as store:
        there = await choose_dataset(store, dataset)
        found = await retention.prunable(store, there.id, before)
        what = f"{found.versions} superseded versions of {there.name} with {found.bytes / 1e6:.1f} MB"
        if found.versions and not yes:
            raise UsageError(f"This would remove {what}.", hint="Add --yes to do it.")
        removed = await retention.prune(store, there.id, before) if found.versions else 0
    if as_json:
        row = {"dataset": there.name, "removed": removed, "bytes": found.bytes, "before": before}
        console.emit_json({"rows": [row]})
    else:
        click.echo(f"Removed {what}." if removed else f"Nothing of {there.name} is to be removed.")
