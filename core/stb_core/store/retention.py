"""Retention: which superseded versions of answers may go, and their removal.

A version may go when a newer one of the same call is there, it was superseded before a given moment,
and no snapshot that was taken shows it: what a run saw under a snapshot stays readable.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from stb_core.store import schema
from stb_core.store.store import Store


@dataclass(frozen=True)
class Prunable:
    """How many versions may go, and the bytes of their bodies."""

    versions: int
    bytes: int


async def prunable(store: Store, dataset_id: int, before: str) -> Prunable:
    """What ``prune`` would remove.

    Args:
        store: the store.
        dataset_id: whose responses.
        before: versions superseded before this moment (UTC, ISO 8601) may go.
    """
    r = schema.responses
    size = sa.func.coalesce(sa.func.sum(sa.func.length(r.c.body)), 0)
    async with store.reading() as connection:
        statement = sa.select(sa.func.count(), size).where(*_may_go(dataset_id, before))
        versions, total = (await connection.execute(statement)).one()
    return Prunable(versions, int(total))


async def prune(store: Store, dataset_id: int, before: str) -> int:
    """Remove superseded versions; returns how many. What is in force, and its hash, stay as they are."""
    d = schema.datasets
    async with store.writing() as connection:
        # Writers of one dataset take turns on its row; a snapshot that is being taken is waited for.
        await connection.execute(sa.select(d.c.id).where(d.c.id == dataset_id).with_for_update())
        gone = await connection.execute(schema.responses.delete().where(*_may_go(dataset_id, before)))
    return gone.rowcount


def _may_go(dataset_id: int, before: str) -> list[sa.ColumnElement[bool]]:
    r, s = schema.responses, schema.snapshots
    newer = schema.responses.alias()
    return [
        r.c.dataset_id == dataset_id,
        r.c.superseded_at < before,
        sa.exists().where(
            newer.c.dataset_id == r.c.dataset_id, newer.c.key == r.c.key, newer.c.version > r.c.version
        ),
        ~sa.exists().where(
            s.c.dataset_id == r.c.dataset_id,
            s.c.last_id >= r.c.id,
            sa.or_(r.c.superseded_in.is_(None), s.c.changes < r.c.superseded_in),
        ),
    ]
