"""Writes responses into the store in bulk, without SQLAlchemy's work for each row.

The rules are those of ``Responses.keep``: a call that has an answer keeps it, and the fingerprint of the
dataset is updated in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.errors import StoreError
from stb_core.store import schema
from stb_core.store.responses import Response
from stb_core.store.store import Store
from stb_core.values import Fingerprint, clock, response_element
from stb_core.values.recordings import RecordingRow

_CONSTANTS = ("dataset_id", "version", "created_at")
_FIELDS = ("key", "category", "tool", "api", "arguments", "body", "provenance", "details")
_PLACEHOLDERS = ", ".join("?" for _ in _FIELDS)
# SQLite releases the interpreter lock once per statement, not once per row, so that other tasks can run.
_ROWS_PER_STATEMENT = 200
_CACHE_KIB = 65_536
_DEFAULT_CACHE_KIB = 2_000


async def add_responses(
    store: Store,
    connection: AsyncConnection,
    dataset_id: int,
    rows: Sequence[RecordingRow],
    fingerprint: Fingerprint | None = None,
) -> dict[str, Response]:
    """Insert responses of calls that have none, within the caller's transaction.

    Args:
        store: where the connection comes from.
        connection: from ``store.writing``.
        dataset_id: the dataset of the responses.
        rows: responses; their keys must differ.
        fingerprint: the fingerprint of all ``rows``, if the caller has computed it.

    Returns:
        The responses that stay in force, by key, of calls that already had one.
    """
    locked = sa.select(schema.datasets.c.id).where(schema.datasets.c.id == dataset_id).with_for_update()
    (await connection.execute(locked)).one()
    if not rows:
        return {}
    existing = await _insert(store, connection, dataset_id, 1, rows)
    if not existing:
        await _update_fingerprint(connection, dataset_id, rows, fingerprint)
        return {}
    in_force, versions = await store.responses.load_known(
        connection, dataset_id, [row[0] for row in existing]
    )
    by_version: dict[int, list[RecordingRow]] = {}
    for row in existing:
        if row[0] not in in_force:
            by_version.setdefault(versions.get(row[0], 0) + 1, []).append(row)
    for version, members in by_version.items():
        if await _insert(store, connection, dataset_id, version, members):
            raise StoreError("A response could not be written.", hint="Run: stb data verify NAME.")
    if new := [row for row in rows if row[0] not in in_force]:
        await _update_fingerprint(connection, dataset_id, new, None)
    return in_force


async def _insert(
    store: Store, connection: AsyncConnection, dataset_id: int, version: int, rows: Sequence[RecordingRow]
) -> Sequence[RecordingRow]:
    """Insert rows; returns those that were not inserted, including all that exist already."""
    rows = sorted(rows)  # in the order of the index, so that each of its pages is written once
    constants = (dataset_id, version, clock.now())
    if store.is_sqlite:
        return await _insert_many(connection, constants, rows)
    try:
        async with connection.begin_nested():
            await _copy(connection, constants, rows)
    except IntegrityError:
        return rows
    return ()


async def _insert_many(
    connection: AsyncConnection, constants: tuple[int, int, str], rows: Sequence[RecordingRow]
) -> Sequence[RecordingRow]:
    """Insert into SQLite, many rows per statement.

    Rows that exist already are skipped. A savepoint would have to keep copies of all index pages.
    """
    dataset_id, version, stamp = constants
    columns = ", ".join((*_CONSTANTS, *_FIELDS))
    insert = f"INSERT OR IGNORE INTO {schema.responses.name} ({columns}) VALUES "  # noqa: S608 - our own words and numbers
    row = f"({dataset_id:d}, {version:d}, '{stamp}', {_PLACEHOLDERS})"
    grouped_rows = len(rows) - len(rows) % _ROWS_PER_STATEMENT
    starts = range(0, grouped_rows, _ROWS_PER_STATEMENT)
    groups = [tuple(chain.from_iterable(rows[i : i + _ROWS_PER_STATEMENT])) for i in starts]
    r = schema.responses.c
    last_id = await connection.scalar(sa.select(sa.func.coalesce(sa.func.max(r.id), 0)))
    added = 0
    if groups:
        # Rows touch index pages at random. With room for all of them, each page is written once.
        await connection.exec_driver_sql(f"PRAGMA cache_size = -{_CACHE_KIB}")
        try:
            many = ", ".join([row] * _ROWS_PER_STATEMENT)
            added = (await connection.exec_driver_sql(insert + many, groups)).rowcount
        finally:
            await connection.exec_driver_sql(f"PRAGMA cache_size = -{_DEFAULT_CACHE_KIB}")
    if rest := [tuple(member) for member in rows[grouped_rows:]]:
        added += (await connection.exec_driver_sql(insert + row, rest)).rowcount
    if added == len(rows):
        return ()
    new = set(await connection.scalars(sa.select(r.key).where(r.id > last_id)))
    return [member for member in rows if member[0] not in new]


async def _copy(
    connection: AsyncConnection, constants: tuple[int, int, str], rows: Sequence[RecordingRow]
) -> None:
    """Insert into PostgreSQL with COPY, through asyncpg's own method."""
    from asyncpg.exceptions import UniqueViolationError  # noqa: PLC0415 - an extra

    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    try:
        await driver.copy_records_to_table(
            schema.responses.name,
            records=[(*constants, *row) for row in rows],
            columns=[*_CONSTANTS, *_FIELDS],
        )
    except UniqueViolationError as problem:
        raise IntegrityError("COPY", None, problem) from problem


async def _update_fingerprint(
    connection: AsyncConnection,
    dataset_id: int,
    rows: Sequence[RecordingRow],
    fingerprint: Fingerprint | None,
) -> None:
    if fingerprint is None:
        fingerprint = Fingerprint()
        for row in rows:
            fingerprint.add(response_element(row[0], row[6], row[5]))
    d = schema.datasets
    state = await connection.scalar(sa.select(d.c.responses_fingerprint).where(d.c.id == dataset_id))
    await connection.execute(
        d.update()
        .where(d.c.id == dataset_id)
        .values(
            responses_fingerprint=Fingerprint(state).merge(fingerprint).state,
            responses_count=d.c.responses_count + len(rows),
            changes=d.c.changes + 1,  # makes servers refresh their list of APIs
        )
    )
