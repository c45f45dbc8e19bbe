"""Bringing the schema of a store up to date, once, whoever comes first."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from stb_core.errors import StoreError
from stb_core.store.database import Database

HEAD = "0004"
_ADVISORY_LOCK = 0x5354_4221  # one number that all our processes agree upon


async def current(database: Database) -> str | None:
    """The schema version of a store; None when it is empty."""
    async with database.reading() as connection:
        there = await connection.run_sync(lambda c: sa.inspect(c).has_table("alembic_version"))
        if not there:
            return None
        version: str | None = await connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        return version


async def upgrade(database: Database) -> None:
    """Run the migrations that a store lacks. Processes that come at once wait for the first.

    Raises:
        StoreError: the store's schema is newer than this program.
    """
    if await current(database) == HEAD:
        return
    async with database.writing() as connection:
        if not database.is_sqlite:
            await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:n)"), {"n": _ADVISORY_LOCK})
        await connection.run_sync(lambda c: _run_alembic(c, database.place))


def _run_alembic(connection: sa.Connection, place: str) -> None:
    from alembic.migration import MigrationContext  # noqa: PLC0415 - slow to import, seldom needed
    from alembic.operations import Operations  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    scripts = ScriptDirectory(str(Path(__file__).parent))
    context = MigrationContext.configure(connection)
    version = context.get_current_revision()
    if version is not None and version not in {script.revision for script in scripts.walk_revisions()}:
        raise StoreError(
            f"The store {place} has schema {version}, which this version does not know.",
            hint="Upgrade stabletoolbench, or use another store.",
        )
    steps = list(reversed(list(scripts.iterate_revisions(HEAD, version or "base"))))
    context._ensure_version_table()  # noqa: SLF001 - the only door to it outside alembic's own runner
    with Operations.context(context):
        for script in steps:
            script.module.upgrade()
    if steps:
        connection.execute(sa.text("DELETE FROM alembic_version"))
        connection.execute(sa.text("INSERT INTO alembic_version VALUES (:v)"), {"v": HEAD})
