"""``stb cache prune``: delete superseded versions that are older than a given age."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from stb_core.cli import console, stb_command
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
    help="Minimum age in days of what is deleted.",
)
@click.option("--yes", is_flag=True, help="Confirm the deletion.")
async def prune(dataset: str, older_than: float, yes: bool, as_json: bool) -> None:
    """Delete old superseded versions of answers. Responses in force and their hash do not change.

    Versions that a snapshot shows are kept, and so is the last version of every call. Deleted
    versions cannot be restored: make a backup first (stb backup).
    """
    moment = datetime.now(UTC) - timedelta(days=older_than)
    before = moment.isoformat(timespec="microseconds")
    async with opened_store() as store:
        target = await choose_dataset(store, dataset)
        found = await retention.count_prunable(store, target.id, before)
        what = f"{found.versions} superseded versions of {target.name} with {found.bytes / 1e6:.1f} MB"
        if found.versions and not yes:
            raise UsageError(f"This would delete {what}.", hint="Add --yes to do it.")
        removed = await retention.prune(store, target.id, before) if found.versions else 0
    if as_json:
        row = {"dataset": target.name, "removed": removed, "bytes": found.bytes, "before": before}
        console.emit_json({"rows": [row]})
    else:
        click.echo(f"Deleted {what}." if removed else f"{target.name} has nothing to delete.")
