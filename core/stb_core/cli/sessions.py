"""One session at a time does a piece of work that costs money: a run, or a judge's verdicts on it.

The session that does it holds a lease in the store and renews it. A second one is refused. When the
first is gone without giving the lease back, the next takes it over: at once on the same machine, where it
can be seen that the process is gone, and else when the lease has ended.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.cli import console
from stb_core.errors import BusyError, StoreError
from stb_core.store import Lease, Store, leases, schema
from stb_core.values import processes

_log = logging.getLogger(__name__)

LEASE_S = 30.0
"""How long a lease outlives a session that died on another machine."""
_BEAT_S = 5.0
"""How often it is renewed."""
_CHECK_S = 1.0
"""How often a session checks whether the lease of another is renewed."""
_TERMINATED = 128 + signal.SIGTERM
_STOPPED = "stb: stopped. What was finished is kept; run the same command again to continue."

_Row = tuple[str, str, str]
"""Name, token and end of a lease."""


@asynccontextmanager
async def holding(store: Store, names: Sequence[str], what: str) -> AsyncGenerator[Lease]:
    """Do a piece of work alone: no other session holds one of these names while the block runs.

    When another session took the work over, because this one stood still for too long, the block is
    cancelled. SIGTERM cancels it as well, so that the lease is given back. Blocks are not nested.

    Args:
        store: where leases are kept.
        names: of the work; any text.
        what: the work in words, as in "Another session is doing …".

    Raises:
        BusyError: another session is doing it, or has taken it over.
        StoreError: the store does not take the lease.
    """
    lease = Lease(tuple(sorted({_lease_name(name) for name in names})), processes.make_mark(), what)
    await _take(store, lease)
    task = asyncio.current_task()
    assert task is not None
    reasons: list[BaseException] = []

    def end(reason: BaseException) -> None:
        if not reasons:
            reasons.append(reason)
            task.cancel()

    over = asyncio.Event()
    beating = asyncio.create_task(_beat(store, lease, over, end))
    try:
        with _at_sigterm(lambda: end(SystemExit(_TERMINATED))):
            yield lease
    except asyncio.CancelledError:
        if not reasons:
            raise
        task.uncancel()
        if isinstance(reasons[0], SystemExit):
            console.print_note(_STOPPED)
        raise reasons[0] from None
    finally:
        over.set()
        await beating
        with suppress(StoreError):  # it expires anyway
            async with store.writing() as connection:
                await leases.give_back_all(connection, [(name, lease.token) for name in lease.names])


@contextmanager
def stopped_by_sigterm() -> Generator[None]:
    """Let SIGTERM cancel the work of the block, also before and after it holds a lease, and end as ``holding`` does.

    What the work has opened is closed, and no process that it started is left behind.
    """
    task = asyncio.current_task()
    assert task is not None
    is_stopped = False

    def stop() -> None:
        nonlocal is_stopped
        is_stopped = True
        task.cancel()

    try:
        with _at_sigterm(stop):
            yield
    except asyncio.CancelledError:
        if not is_stopped:
            raise
        task.uncancel()
        console.print_note(_STOPPED)
        raise SystemExit(_TERMINATED) from None


def _lease_name(name: str) -> str:
    """A name of at most 200 characters, the readable part of it cut."""
    return f"{name[:120]} {hashlib.sha256(name.encode()).hexdigest()[:32]}"


async def _take(store: Store, lease: Lease) -> None:
    """Take a lease, when need be after the end of one whose session may be dead."""
    seen: set[_Row] = set()
    while rows := await _try(store, lease):
        found = [(row, processes.read_mark(row[1])) for row in rows]
        gone = [row for row, holder in found if holder and holder.is_gone]
        if gone:
            async with store.writing() as connection:
                await leases.give_back_all(connection, [(name, token) for name, token, _ in gone])
            continue
        here = next((holder for _, holder in found if holder and holder.is_here), None)
        if here:
            raise _busy(lease.what, f"process {here.pid} on this machine")
        if seen and not seen.issuperset(rows):  # another one, or the same renewed: it lives
            raise _busy(lease.what, "on another machine")
        if not seen:
            console.print_note(
                f"A session on another machine may be doing {lease.what}. Checking for up to {LEASE_S:.0f} s"
                " whether it is alive."
            )
        seen.update(rows)
        await asyncio.sleep(_CHECK_S)


def _busy(what: str, where: str) -> BusyError:
    return BusyError(
        f"Another session is doing {what} ({where}).",
        hint="Wait until it ends, or stop it; then run the same command again.",
    )


async def _try(store: Store, lease: Lease) -> list[_Row]:
    """Take all names of a lease, or none: then the leases that others hold."""
    t = schema.leases.c
    async with store.writing() as connection:
        wanted = [(name, lease.token) for name in lease.names]
        now = await _now(store, connection)
        taken = await leases.take_all(store, connection, wanted, LEASE_S, now=now)
        if all(taken):
            return []
        await leases.give_back_all(connection, wanted)
        found = await connection.execute(
            sa.select(t.name, t.token, t.expires_at).where(t.name.in_(lease.names)).order_by(t.name)
        )
        return [(row.name, row.token, row.expires_at) for row in found]


async def _now(store: Store, connection: AsyncConnection) -> datetime:
    """The time by the clock that all sessions share: the database's, or that of the one machine."""
    if store.is_sqlite:
        return datetime.now(UTC)
    moment = (
        await connection.scalars(sa.select(sa.func.clock_timestamp(type_=sa.DateTime(timezone=True))))
    ).one()
    return moment.astimezone(UTC)


async def _beat(
    store: Store, lease: Lease, over: asyncio.Event, end: Callable[[BaseException], None]
) -> None:
    """Renew a lease until the work is over, and end the work when another session has taken it over."""
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), _BEAT_S)
        if over.is_set():
            return
        try:
            async with store.writing() as connection:
                await leases.renew(connection, lease, LEASE_S, await _now(store, connection))
        except BusyError as problem:
            end(problem)
            return
        except StoreError:
            _log.warning("a lease cannot be renewed", extra={"lease": lease.names})


@contextmanager
def _at_sigterm(stop: Callable[[], None]) -> Generator[None]:
    """Call ``stop`` at the first SIGTERM, where nobody else waits for one; a second one ends the process."""
    loop = asyncio.get_running_loop()
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def stop_once() -> None:
        loop.remove_signal_handler(signal.SIGTERM)
        stop()

    try:
        loop.add_signal_handler(signal.SIGTERM, stop_once)
    except NotImplementedError:  # as on Windows, where there is no SIGTERM to wait for
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
