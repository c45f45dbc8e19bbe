"""``stb restore``: fill an empty store from a backup."""

from __future__ import annotations

from pathlib import Path

import click

from stb_core import cli
from stb_core.cli import stb_command
from stb_core.store import backups
from stb_server.commands.backup import report


@stb_command("restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--check", is_flag=True, help="Only check that FILE is complete and unchanged.")
async def command(file: Path, check: bool, as_json: bool) -> None:
    """Fill an empty store from a backup. Everything is restored and verified, or nothing changes.

    STB_DATABASE_URL names the store. It may be SQLite or PostgreSQL, whichever database the
    backup was made from.
    """
    if check:
        manifest = await backups.verify(file)
        report(f"{file} is complete", file, manifest, as_json=as_json)
        return
    manifest = await backups.restore(file, cli.current_settings().database_url)
    report(f"Restored {file}", file, manifest, as_json=as_json)
