"""Snapshots: a frozen set of responses that a run may see, identified by a content hash.

Responses are never changed in place: a new one gets a higher number than all before, and is taken out of
force by a numbered change of its dataset. So a snapshot consists of two numbers. Taking one takes the same
short time for any number of responses, and its responses can be read after newer ones are in force.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from stb_core.store import schema
from stb_core.store.database import Database
from stb_core.values import Fingerprint, clock


@dataclass(frozen=True)
class Snapshot:
    """One frozen set of responses.

    It contains the responses of the dataset with an ``id`` up to ``last_id`` that no change up to number
    ``changes`` took out of force.
    """

    dataset_id: int
    hash: str
    last_id: int
    changes: int
    responses_count: int
    created_at: str


class Snapshots:
    """Takes and finds snapshots."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, dataset_id: int) -> Snapshot:
        """Take a snapshot of the responses in force; twice gives the same one if nothing changed in between."""
        d, s = schema.datasets, schema.snapshots
        async with self._database.writing() as connection:
            columns = d.c.responses_fingerprint, d.c.responses_count, d.c.changes
            locked = sa.select(*columns).where(d.c.id == dataset_id).with_for_update()
            row = (await connection.execute(locked)).one()
            last_id = await connection.scalar(sa.select(sa.func.max(schema.responses.c.id))) or 0
            snapshot = Snapshot(
                dataset_id=dataset_id,
                hash=Fingerprint(row.responses_fingerprint).hash,
                last_id=last_id,
                changes=row.changes,
                responses_count=row.responses_count,
                created_at=clock.now(),
            )
            insert = self._database.insert(s)
            # The dataset may have changed and changed back since; the newer numbers give the same set.
            statement = insert.values(**vars(snapshot)).on_conflict_do_update(
                index_elements=[s.c.dataset_id, s.c.hash],
                set_={name: insert.excluded[name] for name in ("last_id", "changes", "responses_count")},
            )
            await connection.execute(statement)
        return snapshot

    async def in_force(self, dataset_id: int) -> Snapshot:
        """The responses in force as a snapshot that is not stored; ``last_id`` is that of the dataset.

        One statement reads it, so ``hash`` and ``last_id`` cover the same responses: writers of a dataset
        take turns before their responses get numbers.
        """
        d, r = schema.datasets.c, schema.responses.c
        last_id = sa.select(sa.func.max(r.id)).where(r.dataset_id == d.id).scalar_subquery()
        columns = d.responses_fingerprint, d.responses_count, d.changes, last_id.label("last_id")
        async with self._database.reading() as connection:
            row = (await connection.execute(sa.select(*columns).where(d.id == dataset_id))).one()
        return Snapshot(
            dataset_id=dataset_id,
            hash=Fingerprint(row.responses_fingerprint).hash,
            last_id=row.last_id or 0,
            changes=row.changes,
            responses_count=row.responses_count,
            created_at=clock.now(),
        )

    async def get(self, dataset_id: int, content_hash: str) -> Snapshot | None:
        """The stored snapshot with this hash, or None."""
        s = schema.snapshots.c
        async with self._database.reading() as connection:
            row = (
                await connection.execute(
                    sa.select(schema.snapshots).where(s.dataset_id == dataset_id, s.hash == content_hash)
                )
            ).first()
        return None if row is None else _snapshot(row)


def _snapshot(row: sa.Row[Any]) -> Snapshot:
    return Snapshot(row.dataset_id, row.hash, row.last_id, row.changes, row.responses_count, row.created_at)
