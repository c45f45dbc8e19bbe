"""Counts and deletes superseded versions of responses.

A version may be deleted if the same call has a newer one, it was superseded before a given time, and no
snapshot contains it: the responses that a run saw under a snapshot stay readable.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from stb_core.store import schema
from stb_core.store.store import Store


@dataclass(frozen=True)
class Prunable:
    """The number of versions that may be deleted, and the size of their bodies in bytes."""

    versions: int
    bytes: int


async def count_prunable(store: Store, dataset_id: int, before: str) -> Prunable:
    """Count what ``prune`` would delete.

    Args:
        store: the store.
        dataset_id: the dataset of the responses.
        before: versions superseded before this time (UTC, ISO 8601) may be deleted.
    """
    r = schema.responses
    size = sa.func.coalesce(sa.func.sum(sa.func.length(r.c.body)), 0)
    async with store.reading() as connection:
        statement = sa.select(sa.func.count(), size).where(*_is_prunable(dataset_id, before))
        versions, total = (await connection.execute(statement)).one()
    return Prunable(versions, int(total))


async def prune(store: Store, dataset_id: int, before: str) -> int:
    """Delete superseded versions; returns how many. Responses in force, and their hash, do not change."""
    d = schema.datasets
    async with store.writing() as connection:
        # Writers of one dataset take turns by locking its row. This also waits for a snapshot being taken.
        await connection.execute(sa.select(d.c.id).where(d.c.id == dataset_id).with_for_update())
        deleted = await connection.execute(schema.responses.delete().where(*_is_prunable(dataset_id, before)))
    return deleted.rowcount


def _is_prunable(dataset_id: int, before: str) -> list[sa.ColumnElement[bool]]:
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
