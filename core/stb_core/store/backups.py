"""Back-ups: one SQLite file that is a store itself, with a checksum of every table.

A store on SQLite is copied by SQLite's own online backup, one on PostgreSQL table by table within one
transaction. Both show one moment, while other processes keep writing. Because a back-up is a store,
every command can read it, and it can be restored into either database.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from stb_core.errors import ConflictError, FormatError, NotFoundError, StoreError
from stb_core.store import Store, migrations, open_store
from stb_core.store.database import open_read_only, sqlite_url
from stb_core.store.soundness import find_code, find_damage_of_file
from stb_core.store.table_copy import (
    TableChecksum,
    copied_tables,
    copy,
    is_empty,
    last_ids,
    set_last_ids,
    sums,
    sums_of_file,
)
from stb_core.values import clock

FORMAT = "stabletoolbench-backup/1"


@dataclass(frozen=True)
class BackupManifest:
    """What a back-up says about itself."""

    format: str
    made_at: str
    made_by: str
    """The version of this program."""
    schema: str
    tables: Mapping[str, TableChecksum]
    last_ids: Mapping[str, int]

    @property
    def rows(self) -> int:
        """Over all tables."""
        return sum(table.rows for table in self.tables.values())


async def back_up(url: str, path: Path) -> BackupManifest:
    """Write a back-up of the store at a database URL; the file is there whole or not at all.

    Raises:
        ConflictError: the file exists already.
        StoreError: the store cannot be read, or the file not be written.
    """
    part = _beside(path)
    store = await open_store(url)
    try:
        if store.is_sqlite:
            await asyncio.to_thread(_copy_pages, store.place, part)
            if damage := await asyncio.to_thread(find_damage_of_file, part):
                raise _damaged(store, damage)
            manifest = await _sum_up(part)
        else:
            manifest = await _copy_tables(store, part)
        await asyncio.to_thread(_finish, part, manifest)
        part.rename(path)
    except sqlite3.Error as problem:
        if getattr(problem, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise _damaged(store, str(problem)) from None
        raise _not_written(path, problem) from None
    except OSError as problem:
        raise _not_written(path, problem) from None
    finally:
        await store.close()
        for left in (part, part.with_name(f"{part.name}-wal"), part.with_name(f"{part.name}-shm")):
            left.unlink(missing_ok=True)
    return manifest


def _damaged(store: Store, damage: str) -> StoreError:
    return StoreError(
        f"The store {store.place} is damaged ({damage}), and no back-up was made.",
        hint="Restore an earlier back-up into another store. What can still be read there: stb cache dump, stb export.",
    )


def _not_written(path: Path, problem: Exception) -> StoreError:
    return StoreError(
        f"The back-up {path} cannot be written ({problem}).",
        hint="Free some disk space, or name another place.",
    )


def _beside(path: Path) -> Path:
    """Where to write before the file gets its name."""
    if path.exists():
        raise ConflictError(f"{path} exists already.", hint="Name another file.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise StoreError(
            f"{path.parent} cannot be created ({problem.strerror}).", hint="Name another place."
        ) from None
    if not os.access(path.parent, os.W_OK):
        raise StoreError(
            f"The back-up {path} cannot be written: {path.parent.absolute()} is not writable for this user.",
            hint="Change its owner or permissions, or name another place.",
        )
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _copy_pages(source: str, part: Path) -> None:
    with (
        closing(sqlite3.connect(source, uri=source.startswith("file:"))) as there,
        closing(sqlite3.connect(part)) as here,
    ):
        there.backup(here)


async def _sum_up(part: Path) -> BackupManifest:
    """The manifest of a copy, of what is really in it."""
    store = await open_store(sqlite_url(part), migrate=False)
    try:
        async with store.reading() as connection:
            numbers = await last_ids(connection)
    finally:
        await store.close()
    columns = {str(table.name): table.columns.keys() for table in copied_tables()}
    return _manifest(await asyncio.to_thread(sums_of_file, part, columns), numbers)


async def _copy_tables(source: Store, part: Path) -> BackupManifest:
    target = await open_store(sqlite_url(part))
    try:
        async with source.engine.connect() as reader:
            # One state of the store, however long the copying takes.
            await reader.execution_options(isolation_level="REPEATABLE READ")
            async with reader.begin(), target.writing() as writer:
                read = await copy(reader, writer)
                numbers = await last_ids(reader)
                await set_last_ids(writer, numbers)
    finally:
        await target.close()
    if await asyncio.to_thread(sums_of_file, part, _columns(read)) != read:
        raise StoreError(f"The copy of {source.place} is not equal to it.", hint="Check the disk.")
    return _manifest(read, numbers)


def _manifest(tables: Mapping[str, TableChecksum], numbers: Mapping[str, int]) -> BackupManifest:
    return BackupManifest(FORMAT, clock.now(), version("stabletoolbench"), migrations.HEAD, tables, numbers)


def _columns(tables: Mapping[str, TableChecksum]) -> dict[str, tuple[str, ...]]:
    return {name: table.columns for name, table in tables.items()}


def _finish(part: Path, manifest: BackupManifest) -> None:
    """Put the manifest in, and see that all is in the one file and on disk."""
    with closing(sqlite3.connect(part)) as file:
        file.execute("PRAGMA journal_mode = DELETE")
        with file:
            file.execute("DROP TABLE IF EXISTS stb_backup")
            file.execute("CREATE TABLE stb_backup (document TEXT NOT NULL)")
            document = orjson.dumps(asdict(manifest)).decode()
            file.execute("INSERT INTO stb_backup VALUES (?)", (document,))
    with part.open("rb") as file_on_disk:
        os.fsync(file_on_disk.fileno())


def read_manifest(path: Path) -> BackupManifest:
    """What a back-up says about itself.

    Raises:
        NotFoundError: there is no such file.
        FormatError: it is not a back-up.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no back-up {path}.", hint="Check the path.")
    try:
        with open_read_only(path) as file:
            (text,) = file.execute("SELECT document FROM stb_backup").fetchone()
        found: dict[str, Any] = orjson.loads(text)
        tables = {
            name: TableChecksum(tuple(given["columns"]), given["rows"], given["hash"])
            for name, given in found.pop("tables").items()
            if _is_plain(name, given["columns"])
        }
        manifest = BackupManifest(tables=tables, **found)
    except (sqlite3.Error, ValueError, TypeError, KeyError):
        raise FormatError(
            f"{path} is not a back-up, or is damaged.", hint="Name a file that stb backup wrote."
        ) from None
    if manifest.format != FORMAT:
        raise FormatError(
            f"{path} has the format {manifest.format}, which this version does not know.",
            hint="Upgrade stabletoolbench.",
        )
    return manifest


def _is_plain(*names: object) -> bool:
    """Whether these, and the ones in lists, are names that need no quoting; ValueError if not."""
    for name in names:
        if isinstance(name, list):
            _is_plain(*name)
        elif not (isinstance(name, str) and name.isidentifier()):
            raise ValueError(name)
    return True


async def verify(path: Path) -> BackupManifest:
    """Check that a back-up holds what it held when it was made.

    Raises:
        NotFoundError: there is no such file.
        FormatError: it is not a back-up, or damaged; the message names the tables.
    """
    manifest = read_manifest(path)
    try:
        if code := find_code(path):
            raise FormatError(f"{path} holds {code}, which no back-up has.", hint="Do not use it.")
        if damage := await asyncio.to_thread(find_damage_of_file, path):
            raise FormatError(f"{path} is damaged ({damage}).", hint="Take an earlier one.")
        found = await asyncio.to_thread(sums_of_file, path, _columns(manifest.tables))
    except sqlite3.Error as problem:
        raise FormatError(f"{path} is damaged ({problem}).", hint="Take an earlier one.") from None
    wrong = sorted(name for name, given in manifest.tables.items() if found[name] != given)
    if wrong:
        raise FormatError(f"{path} is damaged: {', '.join(wrong)} changed.", hint="Take an earlier one.")
    return manifest


async def restore(path: Path, url: str) -> BackupManifest:
    """Fill the empty store at a database URL from a back-up; all of it arrives, or nothing does.

    A back-up of an older version is brought up to date on the way.

    Raises:
        NotFoundError: there is no such file.
        FormatError: it is not a back-up, or damaged.
        ConflictError: the store is not empty.
        StoreError: the store cannot be written.
    """
    manifest = await verify(path)
    with tempfile.TemporaryDirectory(prefix="stb-restore-") as folder:
        # Opened, and brought up to date where it is older, is a copy: the back-up itself is only read.
        working = Path(folder) / "store.db"
        await asyncio.to_thread(_copy_pages, str(path), working)
        source = await open_store(sqlite_url(working), keep_copy=False)
        target = await open_store(url)
        try:
            async with source.reading() as reader, target.writing() as writer:
                if not await is_empty(writer):
                    raise ConflictError(
                        f"The store {target.place} is not empty.",
                        hint="Name an empty one with STB_DATABASE_URL; nothing was changed.",
                    )
                read = await copy(reader, writer)
                await set_last_ids(writer, manifest.last_ids)
                is_same_schema = manifest.schema == migrations.HEAD
                if await sums(writer) != read or (is_same_schema and read != dict(manifest.tables)):
                    raise StoreError(
                        f"The store {target.place} does not hold what was written into it.",
                        hint="Nothing was changed; check the database.",
                    )
        finally:
            await source.close()
            await target.close()
    return manifest
