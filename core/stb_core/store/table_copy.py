"""Whole stores, table by table: reading them, writing them elsewhere, and one checksum for each table.

Values are carried as the database holds them, JSON as its text, so that a copy on another database is
the same to the letter. Leases, claims and shares of a limit are left out: they mean something only while their holders
live. What is left to do of a run, and what it has cost, is found anew from the run.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import JSON

from stb_core.store import schema
from stb_core.store.database import open_read_only
from stb_core.values import Fingerprint

_CHUNK = 500
_LEFT_OUT = frozenset({"leases", "work", "workers", "work_orders", "cost_shares"})

TableRow: TypeAlias = Sequence[Any]


@dataclass(frozen=True)
class TableChecksum:
    """How many rows a table has, and the hash of them all, whatever their order."""

    columns: tuple[str, ...]
    """Their names, in the order in which a row's values are hashed."""
    rows: int
    hash: str


def copied_tables() -> list[sa.Table]:
    """The tables that are carried, those that others refer to first."""
    return [table for table in schema.metadata.sorted_tables if table.name not in _LEFT_OUT]


async def read(connection: AsyncConnection, table: sa.Table) -> AsyncGenerator[Sequence[TableRow]]:
    """All rows of a table, in portions, each row with its values in the order of the columns."""
    columns = [
        sa.cast(column, sa.Text).label(column.name) if isinstance(column.type, JSON) else column
        for column in table.columns
    ]
    found = await connection.stream(sa.select(*columns).order_by(*table.primary_key.columns))
    async for portion in found.partitions(_CHUNK):
        yield [tuple(row) for row in portion]


async def write(connection: AsyncConnection, table: sa.Table, rows: Sequence[TableRow]) -> None:
    """Add rows that ``read`` gave, of this database or of another."""
    is_sqlite = connection.dialect.name == "sqlite"
    values: dict[str, Any] = {}
    for column in table.columns:
        if isinstance(column.type, JSON):
            text = sa.bindparam(column.name, type_=sa.Text)
            values[column.name] = text if is_sqlite else sa.cast(text, column.type)
        else:
            values[column.name] = sa.bindparam(column.name, type_=column.type)
    names = table.columns.keys()
    await connection.execute(
        table.insert().values(values), [dict(zip(names, row, strict=True)) for row in rows]
    )


class ChecksumBuilder:
    """Adds rows up to a ``TableChecksum``."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = tuple(map(str, columns))  # SQLAlchemy has its own kind of text
        self._rows = 0
        self._fingerprint = Fingerprint()

    def add(self, rows: Sequence[TableRow]) -> None:
        """Take rows in."""
        self._rows += len(rows)
        for row in rows:
            self._fingerprint.add(orjson.dumps(row, default=bytes.hex))

    @property
    def sum(self) -> TableChecksum:
        """Of all rows so far."""
        return TableChecksum(self._columns, self._rows, self._fingerprint.hash)


async def sums(connection: AsyncConnection) -> dict[str, TableChecksum]:
    """The checksum of each table."""
    found = {}
    for table in copied_tables():
        summing = ChecksumBuilder(table.columns.keys())
        async for rows in read(connection, table):
            summing.add(rows)
        found[str(table.name)] = summing.sum
    return found


def sums_of_file(path: Path, columns: Mapping[str, Sequence[str]]) -> dict[str, TableChecksum]:
    """The same of an SQLite file, whatever its schema: of these columns by table, without SQLAlchemy.

    Raises:
        sqlite3.Error: a table or a column is not there, or the file is damaged.
    """
    found = {}
    with open_read_only(path) as file:
        for table, names in columns.items():
            summing = ChecksumBuilder(names)
            listed = ", ".join(f'"{name}"' for name in names)
            rows = file.execute(f'SELECT {listed} FROM "{table}"')  # noqa: S608 - names are checked by SQLite
            while portion := rows.fetchmany(_CHUNK):
                summing.add(portion)
            found[table] = summing.sum
    return found


async def is_empty(connection: AsyncConnection) -> bool:
    """Whether no table has a row."""
    for table in copied_tables():
        if await connection.scalar(sa.select(sa.literal(1)).select_from(table).limit(1)):
            return False
    return True


async def copy(source: AsyncConnection, target: AsyncConnection) -> dict[str, TableChecksum]:
    """Copy all tables into empty ones of the same schema; returns the checksums of what was read."""
    found = {}
    for table in copied_tables():
        summing = ChecksumBuilder(table.columns.keys())
        async for rows in read(source, table):
            summing.add(rows)
            await write(target, table, rows)
        found[str(table.name)] = summing.sum
    return found


async def last_ids(connection: AsyncConnection) -> dict[str, int]:
    """The highest number that each numbered table has ever given, also to deleted rows.

    Snapshots depend on these numbers, so none may be given twice.
    """
    if connection.dialect.name == "sqlite":
        rows = await connection.execute(sa.text("SELECT name, seq FROM sqlite_sequence"))
        return {row.name: row.seq for row in rows}
    found = {}
    for table in _numbered():
        name = await connection.scalar(sa.select(sa.func.pg_get_serial_sequence(table.name, "id")))
        row = (await connection.execute(sa.text(f"SELECT last_value, is_called FROM {name}"))).one()  # noqa: S608 - a name of PostgreSQL's own
        found[str(table.name)] = row.last_value if row.is_called else 0
    return found


async def set_last_ids(connection: AsyncConnection, given: Mapping[str, int]) -> None:
    """Continue numbering after these numbers, and after those that are in use."""
    for table in _numbered():
        in_use = await connection.scalar(sa.select(sa.func.max(table.c.id))) or 0
        last = max(given.get(table.name, 0), in_use)
        if not last:
            continue
        if connection.dialect.name != "sqlite":
            sequence = sa.func.pg_get_serial_sequence(table.name, "id")
            await connection.execute(sa.select(sa.func.setval(sequence, last)))
        elif table.dialect_options["sqlite"]["autoincrement"]:
            values = {"name": table.name, "last": last}
            await connection.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :name"), values)
            await connection.execute(sa.text("INSERT INTO sqlite_sequence VALUES (:name, :last)"), values)


def _numbered() -> list[sa.Table]:
    """Tables whose rows the database numbers."""
    return [
        table
        for table in copied_tables()
        if "id" in table.columns and isinstance(table.c.id.type, sa.Integer) and len(table.primary_key) == 1
    ]
