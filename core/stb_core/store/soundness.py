"""Whether an SQLite file is sound: its pages, its indexes, and that its tables are tables and nothing else.

A damaged index lets every table be read and yet hides rows from whoever looks them up. In a file of others a view, a
trigger or a computed column could make rows without end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import JSON

from stb_core.store import schema
from stb_core.store.database import Database, open_read_only
from stb_core.values import Status, StopReason, Trajectory

_WORDS: dict[tuple[str, str], Callable[[str], object]] = {
    ("trajectories", "stop"): StopReason,
    ("verdicts", "status"): Status,
}


async def find_damage(database: Database) -> str:
    """The first thing that is wrong with a store's file; "" if it is sound, or on PostgreSQL.

    PostgreSQL checks its own pages where it was set up to.
    """
    if not database.is_sqlite:
        return ""
    async with database.reading() as connection:
        found = await connection.exec_driver_sql("PRAGMA integrity_check(1)")
        return _said(str(found.scalar_one()))


def find_damage_of_file(path: Path) -> str:
    """The same of a file that no other process changes.

    Raises:
        sqlite3.Error: it is not an SQLite file, or so damaged that it cannot be looked at.
    """
    with open_read_only(path) as file:
        return _said(file.execute("PRAGMA integrity_check(1)").fetchone()[0])


def find_code(path: Path) -> str:
    """What of a file would run when it is read or written: the name of a view, a trigger or a computed column.

    Raises:
        sqlite3.Error: as above.
    """
    with open_read_only(path) as file:
        entries = file.execute("SELECT type, name FROM sqlite_master").fetchall()
        odd = [f"the {kind} {name}" for kind, name in entries if kind not in {"table", "index"}]
        for kind, name in entries:
            if kind == "table" and not odd:
                columns = file.execute("SELECT name, hidden FROM pragma_table_xinfo(?)", (name,))
                odd += [f"the computed column {column} of {name}" for column, hidden in columns if hidden]
    return odd[0] if odd else ""


def find_wrong_value(path: Path) -> str:
    """The first value of an SQLite store that no version of this program wrote, by table, column and row; "" if none.

    Reads every row: for when something has failed already.

    Raises:
        sqlite3.Error: as above.
    """
    with open_read_only(path) as file:
        file.text_factory = bytes
        try:
            file.execute("SELECT name FROM sqlite_master").fetchall()
        except UnicodeDecodeError:  # of what SQLite says of a definition that it cannot read
            return "the definition of a table or an index"
        for table in schema.metadata.sorted_tables:
            names = [column.name for column in table.columns]
            listed = ", ".join(f'"{name}"' for name in names)
            for number, row in enumerate(file.execute(f'SELECT {listed} FROM "{table.name}"'), start=1):  # noqa: S608 - names of ours
                values = dict(zip(names, row, strict=True))
                for column in table.columns:
                    if values[column.name] is not None and not _is_right(column, values):
                        return f"{column.name} in row {number} of {table.name}"
    return ""


def _is_right(column: sa.Column[Any], row: Mapping[str, Any]) -> bool:
    value = row[column.name]
    if isinstance(column.type, sa.Integer):
        return isinstance(value, int)
    if isinstance(column.type, sa.LargeBinary):
        return isinstance(value, bytes)
    if not isinstance(value, bytes):
        return not isinstance(column.type, sa.String | JSON)
    try:
        if isinstance(column.type, JSON):
            json.loads(value)
        elif (column.table.name, column.name) == ("trajectories", "document"):
            return _is_trajectory(value, row["content_hash"].decode())
        elif (column.table.name, column.name) in _WORDS:
            _WORDS[column.table.name, column.name](value.decode())
        else:
            value.decode()
    except ValueError:
        return False
    return True


def _is_trajectory(document: bytes, content_hash: str) -> bool:
    """Whether a document is the one that was hashed, with no name that none has."""
    given, trajectory = json.loads(document), Trajectory.model_validate_json(document)
    known = trajectory.model_dump(mode="json")
    has_names = given.keys() <= known.keys() and given.get("usage", {}).keys() <= known["usage"].keys()
    return has_names and trajectory.content_hash == content_hash


def _said(text: str) -> str:
    return "" if text == "ok" else " ".join(text.split())
