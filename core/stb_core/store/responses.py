"""Responses in the store: the answers of each call, in versions, at most one of them in force.

Every write updates the dataset's fingerprint in the same transaction, so the hash of all responses in
force is known at any time. Writers of one dataset take turns by locking its row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.store import schema
from stb_core.store.database import Database
from stb_core.values import ApiRef, Fingerprint, Provenance, clock, response_element

_CHUNK = 500


@dataclass(frozen=True)
class Response:
    """One answer to one call; ``arguments`` is canonical JSON and ``body`` the exact bytes to send."""

    key: str
    category: str
    tool: str
    api: str
    arguments: bytes
    body: bytes
    provenance: Provenance
    details: dict[str, Any] | None = None
    created_at: str = ""
    version: int = 1
    superseded_at: str | None = None
    pinned: bool = False
    id: int = 0


@dataclass(frozen=True)
class Kept:
    """The result of keeping a response: ``response`` is the one now in force."""

    response: Response
    is_new: bool


class Responses:
    """Reads and writes responses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, dataset_id: int, key: str) -> Response | None:
        """The response in force for a call, or None."""
        r = schema.responses
        async with self._database.reading() as connection:
            row = (
                await connection.execute(
                    sa.select(r).where(
                        r.c.dataset_id == dataset_id, r.c.key == key, r.c.superseded_at.is_(None)
                    )
                )
            ).first()
        return None if row is None else response_from_row(row)

    async def versions(self, dataset_id: int, key: str) -> list[Response]:
        """All versions of a call's response, the newest first."""
        async with self._database.reading() as connection:
            return await self.versions_within(connection, dataset_id, key)

    async def versions_within(self, connection: AsyncConnection, dataset_id: int, key: str) -> list[Response]:
        """As ``versions``, on the caller's connection."""
        r = schema.responses
        rows = await connection.execute(
            sa.select(r).where(r.c.dataset_id == dataset_id, r.c.key == key).order_by(r.c.version.desc())
        )
        return [response_from_row(row) for row in rows]

    async def of_api(self, dataset_id: int, category: str, tool: str, api: str) -> list[Response]:
        """The responses of one API in force, ordered by key."""
        r = schema.responses
        async with self._database.reading() as connection:
            rows = await connection.execute(
                sa.select(r)
                .where(
                    r.c.dataset_id == dataset_id,
                    r.c.category == category,
                    r.c.tool == tool,
                    r.c.api == api,
                    r.c.superseded_at.is_(None),
                )
                .order_by(r.c.key)
            )
            return [response_from_row(row) for row in rows]

    async def api_refs(self, dataset_id: int) -> list[ApiRef]:
        """The standard names of all APIs that have responses, in order."""
        r = schema.responses.c
        async with self._database.reading() as connection:
            rows = await connection.execute(
                sa.select(r.category, r.tool, r.api)
                .where(r.dataset_id == dataset_id)
                .distinct()
                .order_by(r.category, r.tool, r.api)
            )
            return [ApiRef(*row) for row in rows]

    async def keep(
        self, dataset_id: int, responses: Sequence[Response], *, supersede: bool = False
    ) -> list[Kept]:
        """Keep responses, all in one transaction; returns, for each, the one now in force.

        A call that already has a response keeps it, unless ``supersede``: then a different body becomes a new
        version and the old one stays on record. When this returns, the responses are on disk.
        """
        async with self._database.writing() as connection:
            return await self.keep_within(connection, dataset_id, responses, supersede=supersede)

    async def keep_within(
        self,
        connection: AsyncConnection,
        dataset_id: int,
        responses: Sequence[Response],
        *,
        supersede: bool = False,
    ) -> list[Kept]:
        """As ``keep``, within the caller's transaction."""
        d, r = schema.datasets, schema.responses
        row = (
            await connection.execute(
                sa.select(d.c.responses_fingerprint, d.c.responses_count, d.c.changes)
                .where(d.c.id == dataset_id)
                .with_for_update()
            )
        ).one()
        fingerprint, count = Fingerprint(row.responses_fingerprint), row.responses_count
        changes = row.changes
        in_force, versions = await self.load_known(connection, dataset_id, [r.key for r in responses])
        kept: list[Kept] = []
        new: list[dict[str, Any]] = []
        stamp = clock.now()
        for response in responses:
            old = in_force.get(response.key)
            if old is not None and (
                not supersede
                or old.pinned
                or (old.body, old.provenance) == (response.body, response.provenance)
            ):
                kept.append(Kept(old, is_new=False))
                continue
            version = versions.get(response.key, 0) + 1
            if old is not None:
                fingerprint.remove(response_element(old.key, old.provenance, old.body))
                count -= 1
                if old.id:
                    changes = row.changes + 1
                    await connection.execute(
                        r.update().where(r.c.id == old.id).values(superseded_at=stamp, superseded_in=changes)
                    )
                else:  # superseded by a later member of the same batch
                    new = [item for item in new if item["key"] != old.key or item["version"] != old.version]
                    version = old.version
            current = replace(
                response, version=version, created_at=response.created_at or stamp, superseded_at=None, id=0
            )
            fingerprint.add(response_element(current.key, current.provenance, current.body))
            count += 1
            new.append(_row(dataset_id, current))
            in_force[current.key] = current
            kept.append(Kept(current, is_new=True))
        if new:
            await connection.execute(r.insert(), new)
            await connection.execute(
                d.update()
                .where(d.c.id == dataset_id)
                .values(responses_fingerprint=fingerprint.state, responses_count=count, changes=changes)
            )
        return kept

    async def retire(
        self, connection: AsyncConnection, dataset_id: int, keys: Sequence[str], *, erase: bool = False
    ) -> int:
        """Take the responses of these calls out of force, within the caller's transaction.

        They stay on record as superseded versions; with ``erase`` all their versions are deleted.
        Returns how many were in force.
        """
        d, r = schema.datasets, schema.responses
        columns = d.c.responses_fingerprint, d.c.changes
        locked = sa.select(*columns).where(d.c.id == dataset_id).with_for_update()
        row = (await connection.execute(locked)).one()
        fingerprint, changes = Fingerprint(row.responses_fingerprint), row.changes + 1
        in_force, _ = await self.load_known(connection, dataset_id, keys)
        for old in in_force.values():
            fingerprint.remove(response_element(old.key, old.provenance, old.body))
        stamp = clock.now()
        for start in range(0, len(keys), _CHUNK):
            selected = (r.c.dataset_id == dataset_id, r.c.key.in_(keys[start : start + _CHUNK]))
            if erase:
                await connection.execute(r.delete().where(*selected))
            else:
                await connection.execute(
                    r.update()
                    .where(*selected, r.c.superseded_at.is_(None))
                    .values(superseded_at=stamp, superseded_in=changes)
                )
        await connection.execute(
            d.update()
            .where(d.c.id == dataset_id)
            .values(
                responses_fingerprint=fingerprint.state,
                responses_count=d.c.responses_count - len(in_force),
                changes=changes,
            )
        )
        return len(in_force)

    async def load_known(
        self, connection: AsyncConnection, dataset_id: int, keys: Sequence[str]
    ) -> tuple[dict[str, Response], dict[str, int]]:
        """The responses in force and the latest version numbers of these calls, by key.

        A call without a response in force has only the latter.
        """
        r = schema.responses
        in_force: dict[str, Response] = {}
        versions: dict[str, int] = {}
        for start in range(0, len(keys), _CHUNK):
            rows = await connection.execute(
                sa.select(r).where(r.c.dataset_id == dataset_id, r.c.key.in_(keys[start : start + _CHUNK]))
            )
            for row in rows:
                versions[row.key] = max(row.version, versions.get(row.key, 0))
                if row.superseded_at is None:
                    in_force[row.key] = response_from_row(row)
        return in_force, versions


def _row(dataset_id: int, response: Response) -> dict[str, Any]:
    return {
        "dataset_id": dataset_id,
        "key": response.key,
        "version": response.version,
        "category": response.category,
        "tool": response.tool,
        "api": response.api,
        "arguments": response.arguments,
        "body": response.body,
        "provenance": response.provenance.value,
        "created_at": response.created_at,
        "details": response.details,
        "pinned": int(response.pinned),
    }


def response_from_row(row: sa.Row[Any]) -> Response:
    """The response in a row of the table."""
    return Response(
        id=row.id,
        key=row.key,
        category=row.category,
        tool=row.tool,
        api=row.api,
        arguments=row.arguments,
        body=row.body,
        provenance=Provenance(row.provenance),
        details=row.details,
        created_at=row.created_at,
        version=row.version,
        superseded_at=row.superseded_at,
        pinned=bool(row.pinned),
    )
