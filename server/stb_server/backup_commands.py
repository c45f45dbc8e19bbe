"""``stb backup`` and ``stb restore``: the whole store as one file, and back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from stb_core import backups, cli, clock, console


def register(stb: click.Group) -> None:
    """Add ``backup`` and ``restore`` to ``stb``."""
    _add_backup(stb)
    _add_restore(stb)


def _add_backup(stb: click.Group) -> None:
    @cli.command(stb, "backup")
    @click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
    async def backup(file: Path | None, as_json: bool) -> None:
        """Write the whole store into one file, as of one moment, while others go on using it.

        FILE is an SQLite store of its own, whatever database the store is on: any command can look
        into it (STB_DATABASE_URL=sqlite:///FILE stb ls). By default its name says when it was made.
        """
        path = file or Path(f"stb-backup-{clock.now()[:19].replace(':', '')}.db")
        manifest = await backups.back_up(cli.current_settings().database_url, path)
        _say(f"Wrote {path}", path, manifest, as_json=as_json)


def _add_restore(stb: click.Group) -> None:
    @cli.command(stb, "restore")
    @click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
    @click.option("--check", is_flag=True, help="Only see that FILE holds what it held when it was made.")
    async def restore(file: Path, check: bool, as_json: bool) -> None:
        """Fill an empty store from a back-up: all of it arrives and is compared, or nothing changes.

        The store is the one that STB_DATABASE_URL names, on SQLite or PostgreSQL, whichever FILE came
        from.
        """
        if check:
            manifest = await backups.verify(file)
            _say(f"{file} is whole", file, manifest, as_json=as_json)
            return
        manifest = await backups.restore(file, cli.current_settings().database_url)
        _say(f"Restored {file}", file, manifest, as_json=as_json)


def _say(what: str, path: Path, manifest: backups.Manifest, *, as_json: bool) -> None:
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
