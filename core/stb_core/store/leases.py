"""Leases: who may do a piece of work now, among all processes that use the store.

A lease is held until it is given back or its time is up, so a holder that dies frees it. It keeps
work from being done twice; it guards no data, which has unique keys of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core import tables

if TYPE_CHECKING:
    from stb_core.store.store import Store


def _moment(seconds_from_now: float = 0) -> str:
    moment = datetime.now(UTC) + timedelta(seconds=seconds_from_now)
    return moment.isoformat(timespec="microseconds")


async def take(store: Store, connection: AsyncConnection, name: str, token: str, seconds: float) -> bool:
    """Take or renew a lease, within the caller's transaction; False if another token holds it."""
    return (await take_all(store, connection, [(name, token)], seconds))[0]


async def take_all(
    store: Store, connection: AsyncConnection, wanted: Sequence[tuple[str, str]], seconds: float
) -> list[bool]:
    """As ``take``, for many (name, token) in one statement; of several tokens for a name the first counts."""
    t = tables.leases
    first = dict(reversed(wanted))
    insert = store.insert(t)
    statement = insert.on_conflict_do_update(
        index_elements=[t.c.name],
        set_={"token": insert.excluded.token, "expires_at": insert.excluded.expires_at},
        where=(t.c.token == insert.excluded.token) | (t.c.expires_at < _moment()),
    ).returning(t.c.name)
    until = _moment(seconds)
    rows = [{"name": name, "token": token, "expires_at": until} for name, token in first.items()]
    taken = set(await connection.scalars(statement, rows))
    return [name in taken and first[name] == token for name, token in wanted]


async def give_back(connection: AsyncConnection, name: str, token: str) -> None:
    """Give a lease back, within the caller's transaction; nothing happens if another token holds it."""
    await give_back_all(connection, [(name, token)])


async def give_back_all(connection: AsyncConnection, held: Sequence[tuple[str, str]]) -> None:
    """As ``give_back``, for many (name, token) in one statement."""
    t = tables.leases
    mine = t.c.name == sa.bindparam("held_name"), t.c.token == sa.bindparam("held_token")
    rows = [{"held_name": name, "held_token": token} for name, token in held]
    await connection.execute(t.delete().where(*mine), rows)
