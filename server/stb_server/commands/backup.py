"""``stb backup``: write the whole store into one file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from stb_core import cli
from stb_core.cli import console, stb_command
from stb_core.store import backups
from stb_core.values import clock


@stb_command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
async def command(file: Path | None, as_json: bool) -> None:
    """Write the whole store into one file, as of one moment, while others keep using it.

    FILE is an SQLite store, whatever database your store is on, so any command can read
    it (STB_DATABASE_URL=sqlite:///FILE stb ls). By default its name is the current time.
    """
    path = file or Path(f"stb-backup-{clock.now()[:19].replace(':', '')}.db")
    manifest = await backups.back_up(cli.current_settings().database_url, path)
    report(f"Wrote {path}", path, manifest, as_json=as_json)


def report(what: str, path: Path, manifest: backups.BackupManifest, *, as_json: bool) -> None:
    """Print what a backup holds, table by table."""
    rows: list[dict[str, Any]] = [
        {"table": name, "rows": table.rows, "hash": table.hash} for name, table in manifest.tables.items()
    ]
    if as_json:
        about = {
            name: value for name, value in asdict(manifest).items() if name not in {"tables", "last_ids"}
        }
        console.emit_json({"file": str(path), **about, "rows": rows})
        return
    click.echo(f"{what}: {manifest.rows} rows in {len(rows)} tables, made {manifest.made_at[:19]}Z.")
