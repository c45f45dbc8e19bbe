"""Bringing the schema of a store up to date: once, by the first process that opens it, after a copy.

Before an SQLite store that holds something is changed, a copy of it is written beside it. Both happen
while no other process can write, and the migrations are one transaction: a process that is killed leaves
the store as it was.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.errors import StoreError
from stb_core.store.database import Database
from stb_core.values import KEY_SCHEME
from stb_core.values.calls import readers_of_scheme

if TYPE_CHECKING:
    from alembic.script import Script

_log = logging.getLogger(__name__)

HEAD = "0010"
_ADVISORY_LOCK = 0x5354_4221  # one number that all our processes agree upon


async def current(database: Database) -> str | None:
    """The schema version of a store; None when it is empty."""
    async with database.reading() as connection:
        return await _version(connection)


async def upgrade(database: Database, *, keep_copy: bool = True) -> None:
    """Run the migrations that a store lacks. Processes that come at once wait for the first.

    Args:
        database: the store's.
        keep_copy: whether a copy of an older SQLite store is kept beside it. It is called like the
            store with ``.before-VERSION`` behind, and a number where that name is taken.

    Raises:
        StoreError: the store's schema is newer than this program, its keys are of another scheme, or
            no copy can be written; nothing is changed then.
    """
    if await current(database) != HEAD:
        async with database.writing() as connection:
            if not database.is_sqlite:
                await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:n)"), {"n": _ADVISORY_LOCK})
            scripts = await connection.run_sync(lambda c: _missing_scripts(c, database.place))
            if scripts and (version := await _version(connection)) is not None:
                await _prepare_upgrade(database, connection, version, keep_copy=keep_copy)
            await connection.run_sync(lambda c: _run(c, scripts))
    await _check_keys(database)


async def _version(connection: AsyncConnection) -> str | None:
    if not await connection.run_sync(lambda c: sa.inspect(c).has_table("alembic_version")):
        return None
    version: str | None = await connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return version


def _missing_scripts(connection: sa.Connection, place: str) -> list[Script]:
    """The migrations that are still to be run, in order."""
    from alembic.migration import MigrationContext  # noqa: PLC0415 - slow to import, seldom needed
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    scripts = ScriptDirectory(str(Path(__file__).parent))
    version = MigrationContext.configure(connection).get_current_revision()
    if version is not None and version not in {script.revision for script in scripts.walk_revisions()}:
        raise StoreError(
            f"The store {place} has schema {version}, which this version does not know.",
            hint="Upgrade stabletoolbench, or use another store.",
        )
    return list(reversed(list(scripts.iterate_revisions(HEAD, version or "base"))))


def _run(connection: sa.Connection, scripts: Sequence[Script]) -> None:
    """Run migrations and write down that they were run."""
    from alembic.migration import MigrationContext  # noqa: PLC0415
    from alembic.operations import Operations  # noqa: PLC0415

    context = MigrationContext.configure(connection)
    context._ensure_version_table()  # noqa: SLF001 - alembic offers it to its own runner alone
    with Operations.context(context):
        for script in scripts:
            script.module.upgrade()
    if scripts:
        connection.execute(sa.text("DELETE FROM alembic_version"))
        connection.execute(sa.text("INSERT INTO alembic_version VALUES (:v)"), {"v": HEAD})


async def _prepare_upgrade(
    database: Database, connection: AsyncConnection, version: str, *, keep_copy: bool
) -> None:
    """Say that a store is upgraded, and keep a copy of it as it is."""
    what = f"upgrading the store {database.place} from schema {version} to {HEAD}"
    if not database.is_sqlite:
        _log.warning("%s; a dump of a PostgreSQL database is its operator's job", what)
    elif keep_copy and (file := await _file_of(connection)):
        copy = _free_name(file)
        _log.warning("%s; a copy of it as it is now is written to %s first", what, copy)
        try:
            await asyncio.to_thread(_write_copy, file, copy)
        except (OSError, sqlite3.Error) as problem:
            raise StoreError(
                f"The store {database.place} has schema {version} and has to be upgraded to {HEAD}, but no "
                f"copy of it can be written to {copy} ({problem}). Nothing was changed.",
                hint="Make room on its disk and make its folder writable, or copy the store to another "
                "place and name that with STB_DATABASE_URL.",
            ) from None


async def _file_of(connection: AsyncConnection) -> Path | None:
    """The file of an SQLite database; None for one in memory."""
    found = await connection.scalar(sa.text("SELECT file FROM pragma_database_list WHERE name = 'main'"))
    return Path(found) if found else None


def _free_name(file: Path) -> Path:
    """Where the copy of a store goes: no file is overwritten."""
    first = file.with_name(f"{file.name}.before-{HEAD}")
    copy, number = first, 1
    while copy.exists():
        number += 1
        copy = first.with_name(f"{first.name}.{number}")
    return copy


def _write_copy(file: Path, copy: Path) -> None:
    """Copy a store, with what is in its write-ahead log; the copy has its name when it is complete."""
    part = copy.with_name(f"{copy.name}.part")
    part.unlink(missing_ok=True)  # left by a process that was killed: only one at a time comes here
    try:
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(part)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")  # all of it in the one file
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.rename(copy)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


async def _check_keys(database: Database) -> None:
    """Refuse a store whose keys were made by other rules: all its responses would be misses."""
    async with database.reading() as connection:
        statement = sa.text("SELECT name, key_scheme FROM datasets WHERE key_scheme <> :ours LIMIT 1")
        other = (await connection.execute(statement, {"ours": KEY_SCHEME})).first()
    if other:
        raise StoreError(
            f"The dataset {other.name} in the store {database.place} has keys of scheme {other.key_scheme}, and "
            f"this version makes keys of scheme {KEY_SCHEME}.",
            hint=f"Use {readers_of_scheme(other.key_scheme)}. To have the responses here, write them with its "
            "'stb cache dump', and load that into another store with 'stb cache load'.",
        )
