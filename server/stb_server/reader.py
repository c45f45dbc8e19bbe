"""Reading one recorded answer by its key, as fast as each database allows.

The hot path cannot pay for an ORM: SQLite is read by a prepared statement on the event loop (some
30 µs from the page cache), PostgreSQL through a small pool of asyncpg connections.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stb_core.errors import StoreError
from stb_core.provenance import Provenance
from stb_core.store import Store

_COLUMNS = "SELECT body, provenance FROM responses"
_QUERY_TIMEOUT_S = 5.0
_POOL_SIZE = 4


@dataclass(frozen=True, slots=True)
class Found:
    """A recorded answer: the exact bytes, and where they came from when they were recorded."""

    body: bytes
    provenance: Provenance


class Reader(Protocol):
    """Reads answers in force."""

    async def get(self, dataset_id: int, key: str) -> Found | None:
        """The answer in force of a call, or None.

        Raises:
            StoreError: the database does not answer.
        """
        ...

    async def close(self) -> None:
        """Give its connections back."""
        ...


async def open_reader(store: Store) -> Reader:
    """The reader that fits the store's database."""
    if store.is_sqlite:
        return SqliteReader(Path(store.place))
    return await PostgresReader.open(store)


class SqliteReader:
    """Reads an SQLite file through a connection of its own that cannot write."""

    def __init__(self, path: Path) -> None:
        self._place = str(path)
        with self._errors():
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro",
                uri=True,
                timeout=_QUERY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
            )

    async def get(self, dataset_id: int, key: str) -> Found | None:
        """The answer in force of a call, or None."""
        with self._errors():
            row = self._connection.execute(
                f"{_COLUMNS} WHERE dataset_id = ? AND key = ? AND superseded_at IS NULL",
                (dataset_id, key),
            ).fetchone()
        return row and Found(row[0], Provenance(row[1]))

    async def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as problem:
            raise StoreError(f"The store {self._place} cannot be read: {problem}.") from problem


class PostgresReader:
    """Reads PostgreSQL through its own pool, with statements prepared once a connection."""

    def __init__(self, pool: Any, place: str) -> None:
        self._pool = pool
        self._place = place

    @classmethod
    async def open(cls, store: Store) -> PostgresReader:
        """Connect to the store's database."""
        import asyncpg  # noqa: PLC0415 - comes with the extra "postgres"

        url = store.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        try:
            pool = await asyncpg.create_pool(
                url, min_size=1, max_size=_POOL_SIZE, command_timeout=_QUERY_TIMEOUT_S
            )
        except (OSError, asyncpg.PostgresError) as problem:
            raise StoreError(f"The store {store.place} cannot be reached ({problem}).") from problem
        return cls(pool, store.place)

    async def get(self, dataset_id: int, key: str) -> Found | None:
        """The answer in force of a call, or None."""
        import asyncpg  # noqa: PLC0415 - comes with the extra "postgres"

        try:
            row = await self._pool.fetchrow(
                f"{_COLUMNS} WHERE dataset_id = $1 AND key = $2 AND superseded_at IS NULL",
                dataset_id,
                key,
            )
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
            raise StoreError(f"The store {self._place} cannot be read: {problem}.") from problem
        return row and Found(row[0], Provenance(row[1]))

    async def close(self) -> None:
        """Close all connections."""
        self._pool.terminate()
