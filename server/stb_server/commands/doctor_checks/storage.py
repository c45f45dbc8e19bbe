"""Checks the store: connection, write access, schema, disk space, clock and datasets.

Nothing is created, migrated or repaired; a store that does not exist yet is not created.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from stb_core.errors import StoreError
from stb_core.store import Store, leases, migrations, open_store, schema
from stb_server.commands.doctor_checks.check_result import CheckResult, failure, warning

_SQLITE_HEADER = b"SQLite format 3\0"
_FUTURE_S = 60.0


@dataclass(frozen=True)
class StorageSettings:
    """What to check about the store."""

    url: str
    dataset: str
    """The dataset of the server; empty for any."""
    min_free_mb: int


async def check_store(wanted: StorageSettings) -> list[CheckResult]:
    """Check the store, without changing it."""
    try:
        parsed = make_url(wanted.url)
    except ArgumentError:
        return [
            failure(
                "store",
                "store-url-invalid",
                "STB_DATABASE_URL is not a database URL",
                "Write postgresql://user@host:5432/name or sqlite:///path/to/file.db.",
            )
        ]
    is_sqlite = parsed.get_backend_name() == "sqlite"
    if not is_sqlite and importlib.util.find_spec("asyncpg") is None:
        return [
            failure(
                "store",
                "store-driver-missing",
                "the store is a PostgreSQL database and its driver asyncpg is not installed",
                "Install it: pip install 'stabletoolbench[postgres]'.",
            )
        ]
    path = (
        Path(parsed.database or "") if is_sqlite and not (parsed.database or "").startswith("file:") else None
    )
    results = [
        _room(_existing(path.absolute()) if path else Path.cwd(), wanted.min_free_mb),
        _working_folder(Path.cwd()),
    ]
    if path and not path.exists():
        return [_not_there_yet(path), *results]
    try:
        async with _opened(wanted.url) as store:
            return [*await _of_store(store, wanted.dataset), *results]
    except StoreError as problem:
        return [_unusable(problem, path), *results]


@asynccontextmanager
async def _opened(url: str) -> AsyncGenerator[Store]:
    store = await open_store(url, migrate=False)
    try:
        yield store
    finally:
        await store.close()


def _existing(path: Path) -> Path:
    """The nearest existing folder above a path."""
    return next((folder for folder in (path, *path.parents) if folder.is_dir()), Path("/"))


def _not_there_yet(path: Path) -> CheckResult:
    place = next(parent for parent in path.absolute().parents if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        return failure(
            "store",
            "store-unwritable",
            f"the store {path} cannot be created: {place} is not a writable folder",
            "Make it writable for this user, or set STB_DATABASE_URL to another place.",
        )
    return CheckResult("store", f"{path} does not exist yet; the first command that needs it creates it")


def _unusable(problem: StoreError, path: Path | None) -> CheckResult:
    if path is None:
        name = "store-unreachable"
    else:
        try:
            with path.open("rb") as file:
                start = file.read(len(_SQLITE_HEADER))
            name = "store-damaged" if start and start != _SQLITE_HEADER else "store-unwritable"
        except OSError:
            name = "store-unwritable"
    hints = {
        "store-unreachable": "Start PostgreSQL, and check address, user and password in STB_DATABASE_URL.",
        "store-damaged": "Restore it from a backup (stb restore), or move it away.",
        "store-unwritable": "Check its owner, permissions and disk, or set STB_DATABASE_URL to another place.",
    }
    return failure("store", name, problem.message.rstrip("."), hints[name])


async def _of_store(store: Store, dataset: str) -> list[CheckResult]:
    version = await migrations.current(store)
    results = [await _writable(store), _schema(version)]
    if version != migrations.HEAD:
        return results
    return [*results, await _clock(store), await _datasets(store, dataset)]


async def _writable(store: Store) -> CheckResult:
    if not store.is_sqlite:
        async with store.reading() as connection:
            version = await connection.scalar(sa.text("SHOW server_version"))
            read_only = await connection.scalar(sa.text("SHOW transaction_read_only")) == "on"
        if read_only:
            return failure(
                "store",
                "store-read-only",
                f"{store.place} (PostgreSQL {version}) is read-only",
                "Use the primary server, not a replica, and unset default_transaction_read_only.",
            )
        return CheckResult("store", f"{store.place} (PostgreSQL {version}) can be read and written")
    async with store.writing() as connection:  # takes and releases the write lock
        mode = await connection.scalar(sa.text("PRAGMA journal_mode"))
    return CheckResult("store", f"{store.place} (SQLite, {mode}) can be read and written")


def _schema(version: str | None) -> CheckResult:
    if version is None:
        return CheckResult("schema", "the store is empty; the first command creates its tables")
    if version > migrations.HEAD:
        return failure(
            "schema",
            "schema-newer",
            f"the store has schema {version}, this version of stabletoolbench knows {migrations.HEAD}",
            "Upgrade stabletoolbench here, or use the version that wrote the store.",
        )
    if version < migrations.HEAD:
        return warning(
            "schema",
            "schema-behind",
            f"the store has schema {version}, this version of stabletoolbench writes {migrations.HEAD}",
            "Make a backup with the old version (stb backup); the next command upgrades the schema.",
        )
    return CheckResult("schema", f"{version}, up to date")


async def _clock(store: Store) -> CheckResult:
    now = datetime.now(UTC)
    async with store.reading() as connection:
        newest = [
            await connection.scalar(sa.select(sa.func.max(table.c.created_at)))
            for table in (schema.runs, schema.trajectories, schema.datasets)
        ]
        theirs = None if store.is_sqlite else await connection.scalar(sa.text("SELECT clock_timestamp()"))
    latest = max((text for text in newest if text), default="")
    if latest and (ahead := (datetime.fromisoformat(latest) - now).total_seconds()) > _FUTURE_S:
        return failure(
            "clock",
            "clock-behind",
            f"the newest record of the store is {ahead:.0f} s in the future",
            "Set this machine's clock (timedatectl set-ntp true); leases and histories depend on it.",
        )
    if isinstance(theirs, datetime) and (skew := abs((theirs - now).total_seconds())) > leases.CLOCKS_APART_S:
        return failure(
            "clock",
            "clock-skewed",
            f"the clocks of this machine and the database differ by {skew:.0f} s",
            "Synchronize both with the same time server (timedatectl set-ntp true).",
        )
    return CheckResult("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC, consistent with the store")


async def _datasets(store: Store, dataset: str) -> CheckResult:
    names = [row.name for row in await store.datasets.all()]
    if dataset and dataset not in names:
        return failure(
            "datasets",
            "dataset-missing",
            f"there is no dataset {dataset!r} for the server; existing: {', '.join(names) or 'none'}",
            f"Import it: stb data import PATH --name {dataset}; or set STB_DATASET to another one.",
        )
    if not names:
        return warning(
            "datasets",
            "no-dataset",
            "the store has no dataset",
            "Import one: stb data import PATH --name NAME.",
        )
    return CheckResult("datasets", ", ".join(names))


def _room(folder: Path, min_free_mb: int) -> CheckResult:
    free = shutil.disk_usage(folder).free / 1e6
    if free < min_free_mb:
        return failure(
            "disk",
            "disk-low",
            f"{free:,.0f} MB are free at {folder}, less than {min_free_mb:,} MB",
            "Free some space, delete superseded versions (stb cache prune), or move the store to a larger disk.",
        )
    return CheckResult("disk", f"{free:,.0f} MB are free at {folder}")


def _working_folder(folder: Path) -> CheckResult:
    """Whether files that a command writes can be put here; a mounted folder is there for nothing else."""
    if os.access(folder, os.W_OK):
        return CheckResult("working folder", f"{folder} can be written")
    made = failure if folder.is_mount() else warning
    owner = folder.stat().st_uid
    return made(
        "working folder",
        "working-folder-unwritable",
        f"{folder} belongs to user {owner}, and user {os.getuid()} cannot write reports, exports or back-ups into it",
        "Change its owner (chown), or run as its owner; for the runner of docker-compose.yml set RUNNER_USER to it.",
    )
