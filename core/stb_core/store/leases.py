"""Leases: which process may do a piece of work now, among all that use the store.

A lease is held until it is given back or expires, so the lease of a process that dies becomes free. It
keeps work from being done twice; data does not depend on it, since it has unique keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.store import schema
from stb_core.store.database import Database

CLOCKS_APART_S = 5.0
"""How far clocks may be apart. A lease that ends later than that after the end of a new one is from a clock
that was ahead, and counts as ended."""


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


async def take(
    database: Database, connection: AsyncConnection, name: str, token: str, seconds: float
) -> bool:
    """Take or renew a lease, within the caller's transaction; False if another token holds it."""
    return (await take_all(database, connection, [(name, token)], seconds))[0]


async def take_all(
    database: Database,
    connection: AsyncConnection,
    wanted: Sequence[tuple[str, str]],
    seconds: float,
) -> list[bool]:
    """As ``take``, for many (name, token) in one statement; of several tokens for a name the first counts.

    All who take leases of a name take them for the same time.
    """
    now = datetime.now(UTC)
    until, at_most = now + timedelta(seconds=seconds), now + timedelta(seconds=seconds + CLOCKS_APART_S)
    t = schema.leases
    first = dict(reversed(wanted))
    insert = database.insert(t)
    statement = insert.on_conflict_do_update(
        index_elements=[t.c.name],
        set_={"token": insert.excluded.token, "expires_at": insert.excluded.expires_at},
        where=(t.c.token == insert.excluded.token)
        | (t.c.expires_at < _text(now))
        | (t.c.expires_at > _text(at_most)),
    ).returning(t.c.name)
    rows = [{"name": name, "token": token, "expires_at": _text(until)} for name, token in first.items()]
    taken = set(await connection.scalars(statement, rows))
    return [name in taken and first[name] == token for name, token in wanted]


async def give_back(connection: AsyncConnection, name: str, token: str) -> None:
    """Give a lease back, within the caller's transaction; nothing happens if another token holds it."""
    await give_back_all(connection, [(name, token)])


async def give_back_all(connection: AsyncConnection, held: Sequence[tuple[str, str]]) -> None:
    """As ``give_back``, for many (name, token) in one statement."""
    t = schema.leases
    mine = t.c.name == sa.bindparam("held_name"), t.c.token == sa.bindparam("held_token")
    rows = [{"held_name": name, "held_token": token} for name, token in held]
    await connection.execute(t.delete().where(*mine), rows)
