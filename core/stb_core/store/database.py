"""The database under the store: connections and transactions, on SQLite (WAL) and PostgreSQL alike.

Any number of processes may use a store at once and any may die at any line: a transaction is
whole or not there, and a commit that returned is on disk.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from stb_core.errors import StoreError, StoreUnreachableError
from stb_core.store import schema
from stb_core.values import clock

T = TypeVar("T")

_BUSY_TIMEOUT_S = 60
_RETRY_S = 0.5
# A process that stands still within a transaction loses it, and with it what it has locked.
_NOT_FOR_EVER = sa.text("SET LOCAL idle_in_transaction_session_timeout = '30s'")
_DEADLOCK = "40P01"
"""PostgreSQL's state when it has undone a transaction because two waited for each other."""
_MOST_DEADLOCKS = 5
_NOT_NOW = {"57P01", "57P02", "57P03"}
"""PostgreSQL's states while it stops, has crashed, and starts."""


class Database:
    """An open database: who reads gets one state of it, who writes gets a transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.patience_s = 0.0
        """How long a read or write waits for a database that cannot be reached, before it begins."""
        self.is_sqlite = engine.dialect.name == "sqlite"
        # Within a process SQLite's writers take turns here rather than by polling the file lock.
        self._sqlite_turn = asyncio.Lock() if self.is_sqlite else None
        self._direct = _direct_engine(engine.url) if self.is_sqlite else None

    @property
    def place(self) -> str:
        """Where it is: a file's path, or the address without its password."""
        url = self.engine.url
        return str(url.database) if self.is_sqlite else url.render_as_string(hide_password=True)

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[AsyncConnection]:
        """A connection that sees one state of the store."""
        with _as_store_error(self.place):
            async with AsyncExitStack() as stack:
                yield await self._connect(stack)

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[AsyncConnection]:
        """A transaction that is committed, and on disk, when the block ends without an error."""
        with _as_store_error(self.place):
            async with AsyncExitStack() as stack:
                if self._sqlite_turn:
                    await stack.enter_async_context(self._sqlite_turn)
                connection = await self._connect(stack)
                await connection.execution_options(stb_writes=True)
                async with connection.begin():
                    yield connection

    async def _connect(self, stack: AsyncExitStack) -> AsyncConnection:
        deadline = time.monotonic() + self.patience_s
        while True:
            try:
                return await stack.enter_async_context(self.engine.connect())
            except (DBAPIError, OSError) as problem:
                is_away = isinstance(_explain(problem, self.place), StoreUnreachableError)
                if not is_away or time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(_RETRY_S)

    async def transact(self, work: Callable[[sa.Connection], T]) -> T:
        """Do work in one transaction; on disk when this returns.

        For writes that many wait for: on SQLite it is one trip to another thread, where ``writing`` takes
        one for each of its ten steps. So the work must not touch what belongs to the thread of the caller. It may be
        done again, where PostgreSQL has undone it because two transactions waited for each other.
        """
        if self._direct is None or self._sqlite_turn is None:
            for _ in range(_MOST_DEADLOCKS):
                try:
                    return await self._transact_on_server(work)
                except StoreError as problem:
                    if _state(problem.__cause__) != _DEADLOCK:
                        raise
            return await self._transact_on_server(work)
        with _as_store_error(self.place):
            async with self._sqlite_turn:
                return await asyncio.to_thread(_transact, self._direct, work)

    async def _transact_on_server(self, work: Callable[[sa.Connection], T]) -> T:
        async with self.writing() as connection:
            await connection.execute(_NOT_FOR_EVER)
            return await connection.run_sync(work)

    async def write(self, statement: sa.Insert, rows: Sequence[Mapping[str, Any]]) -> int:
        """Execute a statement for all rows in one transaction; on disk when this returns.

        Returns how many rows it wrote, if the statement returns a value of each; otherwise how many it was given.
        """
        if not rows:
            return 0
        return await self.transact(lambda connection: _count(connection.execute(statement, rows), rows))

    async def try_write(self) -> None:
        """Write a row, delete it and commit, to see that the database takes writes now.

        Raises:
            StoreError: it does not.
        """
        leases = schema.leases
        row = {"name": f"trial write {uuid4().hex}", "token": "", "expires_at": clock.now()}
        async with self.writing() as connection:
            await connection.execute(leases.insert(), row)
            await connection.execute(leases.delete().where(leases.c.name == row["name"]))

    def insert(self, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
        """An INSERT of the dialect in use, which knows ON CONFLICT."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    async def close(self) -> None:
        """Give all connections back."""
        await self.engine.dispose()
        if self._direct:
            self._direct.dispose()


@contextmanager
def _as_store_error(place: str) -> Generator[None]:
    """Turns errors of the database into ``StoreError``; others pass."""
    try:
        yield
    except Exception as problem:
        if isinstance(problem, (SQLAlchemyError, sqlite3.Error, OSError)) or _is_of_driver(problem):
            raise _explain(problem, place) from problem
        raise


def _is_of_driver(problem: Exception) -> bool:
    """Whether an error is asyncpg's own, such as ``InternalClientError``, which SQLAlchemy lets through."""
    return type(problem).__module__.partition(".")[0] == "asyncpg"


def _explain(problem: BaseException, place: str) -> StoreError:
    text = str(problem.orig if isinstance(problem, DBAPIError) and problem.orig else problem)
    text = " ".join(text.split()).removeprefix("<class '").split("'>: ")[-1]
    if (isinstance(problem, OSError) and problem.filename) or "unable to open" in text or "readonly" in text:
        return StoreError(
            f"The store {place} cannot be written ({text}).",
            hint="Check its permissions and its disk, or name another place with STB_DATABASE_URL.",
        )
    if "is full" in text:
        return StoreError(
            f"The disk that holds the store {place} is full.", hint="Free some space and try again."
        )
    if "disk I/O error" in text:
        return StoreError(
            f"The store {place} cannot be read or written ({text}).",
            hint="Check that its disk has room and works.",
        )
    if "malformed" in text or "not a database" in text:
        return StoreError(
            f"The store {place} is damaged ({text}).", hint="Restore it from a copy, or move it away."
        )
    if isinstance(problem, OSError) or _state(problem) in _NOT_NOW:
        return StoreUnreachableError(
            f"The store {place} cannot be reached ({text}).", hint="Check that it is running."
        )
    return StoreError(f"The store {place} failed: {text}.", hint="Check that it is running and reachable.")


def _state(problem: BaseException | None) -> str:
    """PostgreSQL's code of what went wrong; "" for anything else."""
    state: str = getattr(problem.orig, "sqlstate", "") if isinstance(problem, DBAPIError) else ""
    return state


def bytes_contain(column: sa.Column[bytes], text: bytes, *, is_sqlite: bool) -> sa.ColumnElement[bool]:
    """Whether a column of bytes contains a text."""
    needle = sa.literal(text, sa.LargeBinary)
    if is_sqlite:
        return sa.func.instr(column, needle) > 0
    return sa.func.position(needle.op("IN")(column)) > 0


def sqlite_url(path: Path) -> str:
    """The database URL of an SQLite file."""
    return f"sqlite+aiosqlite:///{path}"


@contextmanager
def open_read_only(path: Path) -> Generator[sqlite3.Connection]:
    """An SQLite file, opened so that nothing in it can be changed.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file:
        yield file


def open_engine(url: str) -> AsyncEngine:
    """The engine of a database URL; nothing is opened yet.

    Raises:
        StoreError: the URL names no database that can be a store, or its driver is not installed.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError(
            "STB_DATABASE_URL is not a database URL.",
            hint="Write postgresql://user@host:5432/name or sqlite:///path/to/file.db.",
        ) from None
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+asyncpg")
    if parsed.drivername == "sqlite":
        parsed = parsed.set(drivername="sqlite+aiosqlite")
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise StoreError(
            f"A {parsed.get_backend_name()} database cannot be a store.", hint="Use SQLite or PostgreSQL."
        )
    try:
        if parsed.get_backend_name() == "postgresql":
            return create_async_engine(parsed, pool_size=8, max_overflow=8, pool_pre_ping=True)
        if not parsed.database or parsed.database == ":memory:":
            raise StoreError("The store needs a file.", hint="Write sqlite:///path/to/file.db.")
        if _is_path(parsed.database):
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_async_engine(parsed, pool_size=4, max_overflow=4)
    except ModuleNotFoundError:
        raise StoreError(
            "PostgreSQL needs the driver asyncpg.",
            hint="Install it: pip install 'stabletoolbench[postgres]'.",
        ) from None
    except OSError as problem:
        raise _explain(problem, str(parsed.database)) from problem
    _prepare(engine.sync_engine)
    return engine


def _direct_engine(url: sa.URL) -> sa.Engine:
    """An engine for an SQLite file that is used in a thread, by a whole transaction at a time."""
    engine = sa.create_engine(url.set(drivername="sqlite"), pool_size=1)
    _prepare(engine)
    return engine


def _prepare(engine: sa.Engine) -> None:
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)


def _transact(engine: sa.Engine, work: Callable[[sa.Connection], T]) -> T:
    with engine.connect() as connection:
        connection.execution_options(stb_writes=True)
        with connection.begin():
            return work(connection)


def _count(result: sa.CursorResult[Any], rows: Sequence[Mapping[str, Any]]) -> int:
    """How many rows a statement wrote, if it returns a value of each; otherwise how many it was given."""
    return len(result.all()) if result.returns_rows else len(rows)


def _is_path(database: str) -> bool:
    """Whether an SQLite database is named by its path, not by a URI that says how it is to be opened."""
    return not database.startswith("file:")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite alone
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_S * 1000}")
    cursor.execute("PRAGMA synchronous = FULL")  # a commit that returned survives a power cut
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("stb_writes")
    # A writer takes the write lock at once: one that starts as a reader could be refused later.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


async def use_wal(database: Database) -> None:
    """Switch an SQLite file to write-ahead logging, which it then remembers; other databases stay as they are.

    SQLite does not wait for others here, however long its busy timeout.
    """
    path = database.place
    if not database.is_sqlite or not _is_path(path):
        return
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            with closing(sqlite3.connect(path)) as connection:
                # Of a new file only: responses of some kilobytes fill small pages badly.
                connection.execute("PRAGMA page_size = 16384")
                connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.DatabaseError as problem:
            if "locked" not in str(problem) or time.monotonic() > deadline:
                raise _explain(problem, path) from problem
            await asyncio.sleep(0.02)
        else:
            return
