"""The store: can it be reached and written, is its schema current, is there room, does its clock agree?

Nothing is made, migrated or repaired here: a store that is not there yet stays so.
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
    """What the store is looked at for."""

    url: str
    dataset: str
    """The dataset that the server is to answer from; empty for any."""
    min_free_mb: int


async def check_store(wanted: StorageSettings) -> list[CheckResult]:
    """Look at the store, without changing it."""
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
    found = [_room(_existing(path.absolute()) if path else Path.cwd(), wanted.min_free_mb)]
    if path and not path.exists():
        return [_not_there_yet(path), *found]
    try:
        async with _opened(wanted.url) as store:
            return [*await _of_store(store, wanted.dataset), *found]
    except StoreError as problem:
        return [_unusable(problem, path), *found]


@asynccontextmanager
async def _opened(url: str) -> AsyncGenerator[Store]:
    store = await open_store(url, migrate=False)
    try:
        yield store
    finally:
        await store.close()


def _existing(path: Path) -> Path:
    """The nearest folder on the way to a path that is there."""
    return next((folder for folder in (path, *path.parents) if folder.is_dir()), Path("/"))


def _not_there_yet(path: Path) -> CheckResult:
    place = next(parent for parent in path.absolute().parents if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        return failure(
            "store",
            "store-unwritable",
            f"the store {path} cannot be made: {place} is not a folder that can be written",
            "Give this user the right to write there, or name another place with STB_DATABASE_URL.",
        )
    return CheckResult("store", f"{path} is not there yet; the first command that needs it makes it")


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
        "store-unwritable": "Check its owner, its permissions and its disk, or name another STB_DATABASE_URL.",
    }
    return failure("store", name, problem.message.rstrip("."), hints[name])


async def _of_store(store: Store, dataset: str) -> list[CheckResult]:
    version = await migrations.current(store)
    found = [await _writable(store), _schema(version)]
    if version != migrations.HEAD:
        return found
    return [*found, await _clock(store), await _datasets(store, dataset)]


async def _writable(store: Store) -> CheckResult:
    if not store.is_sqlite:
        async with store.reading() as connection:
            version = await connection.scalar(sa.text("SHOW server_version"))
            read_only = await connection.scalar(sa.text("SHOW transaction_read_only")) == "on"
        if read_only:
            return failure(
                "store",
                "store-read-only",
                f"{store.place} (PostgreSQL {version}) takes no writes",
                "Name the primary server, not a replica, and unset default_transaction_read_only.",
            )
        return CheckResult("store", f"{store.place} (PostgreSQL {version}) answers and takes writes")
    async with store.writing() as connection:  # takes the write lock, and gives it back
        mode = await connection.scalar(sa.text("PRAGMA journal_mode"))
    return CheckResult("store", f"{store.place} (SQLite, {mode}) can be read and written")


def _schema(version: str | None) -> CheckResult:
    if version is None:
        return CheckResult("schema", "the store is empty; the first command makes its tables")
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
            "Make a backup with the old version (stb backup); the next command brings the schema up to date.",
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
            f"the newest record of the store lies {ahead:.0f} s in the future",
            "Set this machine's clock (timedatectl set-ntp true); leases and histories go by it.",
        )
    if isinstance(theirs, datetime) and (skew := abs((theirs - now).total_seconds())) > leases.CLOCKS_APART_S:
        return failure(
            "clock",
            "clock-skewed",
            f"this machine and the database are {skew:.0f} s apart",
            "Let both follow the same time server (timedatectl set-ntp true).",
        )
    return CheckResult("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC, and nothing contradicts it")


async def _datasets(store: Store, dataset: str) -> CheckResult:
    names = [row.name for row in await store.datasets.all()]
    if dataset and dataset not in names:
        return failure(
            "datasets",
            "dataset-missing",
            f"the server is to answer from {dataset!r}; there are: {', '.join(names) or 'none'}",
            f"Import it: stb data import PATH --name {dataset}; or name another with STB_DATASET.",
        )
    if not names:
        return warning(
            "datasets",
            "no-dataset",
            "the store holds no dataset",
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
            "Make room, drop what was superseded (stb cache prune), or move the store to a larger disk.",
        )
    return CheckResult("disk", f"{free:,.0f} MB are free at {folder}")
