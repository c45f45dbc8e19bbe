"""``stb restore``: fill an empty store from a back-up."""

from __future__ import annotations

from pathlib import Path

import click

from stb_core import cli
from stb_core.cli.program import stb_command
from stb_core.store import backups
from stb_server.commands.backup import report


@stb_command("restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--check", is_flag=True, help="Only see that FILE holds what it held when it was made.")
async def command(file: Path, check: bool, as_json: bool) -> None:
    """Fill an empty store from a back-up: all of it arrives and is compared, or nothing changes.

    The store is the one that STB_DATABASE_URL names, on SQLite or PostgreSQL, whichever FILE came
    from.
    """
    if check:
        manifest = await backups.verify(file)
        report(f"{file} is whole", file, manifest, as_json=as_json)
        return
    manifest = await backups.restore(file, cli.current_settings().database_url)
    report(f"Restored {file}", file, manifest, as_json=as_json)
