"""Reading one recorded answer by its key, as fast as each database allows.

The hot path cannot pay for an ORM: SQLite is read by a prepared statement on the event loop (some
30 µs from the page cache), PostgreSQL through a small pool of asyncpg connections.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from stb_core.errors import StoreError
from stb_core.store import Snapshot, Store
from stb_core.values import Provenance
from stb_server.cache.cached_answer import CachedAnswer

_SELECT = "SELECT body, provenance, created_at, id FROM responses WHERE dataset_id = $1 AND key = $2"
_IN_FORCE = f"{_SELECT} AND superseded_at IS NULL"
_IN_SNAPSHOT = f"{_SELECT} AND id <= $3 AND (superseded_in IS NULL OR superseded_in > $4)"
_AFTER_SNAPSHOT = f"{_SELECT} AND id > $3 ORDER BY id LIMIT 1"

_SQLITE = {text: text.replace("$", "?") for text in (_IN_FORCE, _IN_SNAPSHOT, _AFTER_SNAPSHOT)}

_QUERY_TIMEOUT_S = 5.0
_POOL_SIZE = 4


_Row: TypeAlias = Any


class Reader(Protocol):
    """Reads recorded answers.

    All methods raise ``StoreError`` when the database does not answer.
    """

    async def in_force(self, dataset_id: int, key: str) -> CachedAnswer | None:
        """The answer of a call that is in force now, or None."""
        ...

    async def in_snapshot(self, snapshot: Snapshot, key: str) -> CachedAnswer | None:
        """The answer of a call that a snapshot holds, or None."""
        ...

    async def after_snapshot(self, snapshot: Snapshot, key: str) -> CachedAnswer | None:
        """The first answer of a call that was recorded after a snapshot, or None."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


async def open_reader(store: Store) -> Reader:
    """The reader that fits the store's database."""
    if store.is_sqlite:
        return SqliteReader(Path(store.place))
    return await PostgresReader.open(store)


class _Statements:
    """The three queries; a subclass fetches the row."""

    async def _fetch(self, statement: str, *values: Any) -> _Row | None:
        raise NotImplementedError

    async def in_force(self, dataset_id: int, key: str) -> CachedAnswer | None:
        """The answer of a call that is in force now, or None."""
        return _answer(await self._fetch(_IN_FORCE, dataset_id, key))

    async def in_snapshot(self, snapshot: Snapshot, key: str) -> CachedAnswer | None:
        """The answer of a call that a snapshot holds, or None."""
        values = snapshot.dataset_id, key, snapshot.last_id, snapshot.changes
        return _answer(await self._fetch(_IN_SNAPSHOT, *values))

    async def after_snapshot(self, snapshot: Snapshot, key: str) -> CachedAnswer | None:
        """The first answer of a call that was recorded after a snapshot, or None."""
        return _answer(await self._fetch(_AFTER_SNAPSHOT, snapshot.dataset_id, key, snapshot.last_id))


def _answer(row: _Row | None) -> CachedAnswer | None:
    if row is None:
        return None
    body, provenance, created_at, number = row
    return CachedAnswer.create(body, Provenance(provenance), created_at, number)


class SqliteReader(_Statements):
    """Reads an SQLite file through its own connection, which cannot write."""

    def __init__(self, path: Path) -> None:
        self._place = str(path)
        try:
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro",
                uri=True,
                timeout=_QUERY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.Error as problem:
            raise self._unreadable(problem) from problem

    async def _fetch(self, statement: str, *values: Any) -> _Row | None:
        try:
            return self._connection.execute(_SQLITE[statement], values).fetchone()
        except sqlite3.Error as problem:
            raise self._unreadable(problem) from problem

    def _unreadable(self, problem: Exception) -> StoreError:
        return StoreError(f"The store {self._place} cannot be read: {problem}.")

    async def close(self) -> None:
        """Close the file."""
        self._connection.close()


class PostgresReader(_Statements):
    """Reads PostgreSQL through its own pool, with statements prepared once per connection."""

    def __init__(self, pool: Any, place: str) -> None:
        self._pool = pool
        self._place = place

    @classmethod
    async def open(cls, store: Store) -> PostgresReader:
        """Connect to the store's database.

        Raises:
            StoreError: it cannot be reached.
        """
        import asyncpg  # noqa: PLC0415 - comes with the extra "postgres"

        url = store.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        try:
            pool = await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=_POOL_SIZE,
                timeout=_QUERY_TIMEOUT_S,
                command_timeout=_QUERY_TIMEOUT_S,
            )
        except (
            OSError,
            TimeoutError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
        ) as problem:
            raise StoreError(f"The store {store.place} cannot be reached ({problem}).") from problem
        return cls(pool, store.place)

    async def _fetch(self, statement: str, *values: Any) -> _Row | None:
        import asyncpg  # noqa: PLC0415 - comes with the extra "postgres"

        attempts = _POOL_SIZE + 1  # a server that was restarted leaves dead connections in the pool
        while True:
            attempts -= 1
            try:
                async with self._pool.acquire(timeout=_QUERY_TIMEOUT_S) as connection:
                    return await connection.fetchrow(statement, *values)
            except (
                asyncpg.PostgresConnectionError,
                asyncpg.InterfaceError,
                asyncpg.InternalClientError,  # of a connection that was cut in the middle of a message
            ) as problem:
                if not attempts:
                    raise self._unreadable(problem) from problem
            except (OSError, TimeoutError, asyncpg.PostgresError) as problem:
                raise self._unreadable(problem) from problem

    def _unreadable(self, problem: Exception) -> StoreError:
        return StoreError(f"The store {self._place} cannot be read: {problem!r}.")

    async def close(self) -> None:
        """Close all connections."""
        self._pool.terminate()
