"""Leases: who may do a piece of work now, among all processes that use the store.

A lease is held until it is given back or its time is up, so a holder that dies frees it. It keeps
work from being done twice; it guards no data, which has unique keys of its own.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core import tables

if TYPE_CHECKING:
    from stb_core.store.store import Store


def _moment(seconds_from_now: float = 0) -> str:
    moment = datetime.now(UTC) + timedelta(seconds=seconds_from_now)
    return moment.isoformat(timespec="microseconds")


async def take(store: Store, connection: AsyncConnection, name: str, token: str, seconds: float) -> bool:
    """Take or renew a lease, within the caller's transaction; False if another token holds it."""
    t = tables.leases
    insert = store.insert(t)
    statement = insert.values(name=name, token=token, expires_at=_moment(seconds)).on_conflict_do_update(
        index_elements=[t.c.name],
        set_={"token": insert.excluded.token, "expires_at": insert.excluded.expires_at},
        where=(t.c.token == token) | (t.c.expires_at < _moment()),
    )
    return (await connection.execute(statement)).rowcount > 0


async def give_back(connection: AsyncConnection, name: str, token: str) -> None:
    """Give a lease back, within the caller's transaction; nothing happens if another token holds it."""
    t = tables.leases
    await connection.execute(t.delete().where(t.c.name == name, t.c.token == token))
