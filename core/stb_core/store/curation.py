"""What people do with recorded responses: notes, pins and deletions, each kept on record for good.

A change and its record are one transaction. Deleting through here never loses who said what: the
record holds the call, and what its answers were, by hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.errors import NotFoundError, UsageError
from stb_core.json_text import replace_surrogates
from stb_core.store import schema
from stb_core.store.database import Database
from stb_core.store.responses import Response, Responses
from stb_core.values import clock

MAX_TEXT = 10_000
"""Most characters of a note or a reason."""
_CHUNK = 500


class CurationAct(StrEnum):
    """What was done."""

    NOTE = "note"
    """The text is the note that stands beside the response from now on; empty text takes it away."""
    PIN = "pin"
    UNPIN = "unpin"
    RETIRE = "retire"
    """The answer was taken out of force; its versions stay on record."""
    RESTORE = "restore"
    """The last answer was put into force again, as a new version."""
    ERASE = "erase"
    """All versions are gone."""


@dataclass(frozen=True)
class CurationEvent:
    """One entry of the record: ``text`` is a note, or the reason of anything else."""

    key: str
    act: CurationAct
    text: str
    created_at: str
    details: dict[str, Any] = field(default_factory=dict)


class Curation:
    """Changes responses by hand, and reads what was changed."""

    def __init__(self, database: Database, responses: Responses) -> None:
        self._database = database
        self._responses = responses

    async def note(self, dataset_id: int, key: str, text: str) -> None:
        """Set the note beside a response, or take it away with empty text.

        Raises:
            NotFoundError: there is no response with this key.
        """
        async with self._database.writing() as connection:
            await self._versions(connection, dataset_id, key)
            await self._record(connection, dataset_id, key, CurationAct.NOTE, text)

    async def pin(self, dataset_id: int, key: str, *, pinned: bool) -> None:
        """Keep the answer in force from being superseded, or no longer.

        Raises:
            NotFoundError: there is no response with this key.
            UsageError: none is in force.
        """
        r = schema.responses.c
        async with self._database.writing() as connection:
            response = _in_force(await self._versions(connection, dataset_id, key))
            if response.pinned is pinned:
                return
            await connection.execute(
                schema.responses.update().where(r.id == response.id).values(pinned=int(pinned))
            )
            await self._record(
                connection, dataset_id, key, CurationAct.PIN if pinned else CurationAct.UNPIN, ""
            )

    async def delete(self, dataset_id: int, key: str, reason: str = "", *, erase: bool = False) -> int:
        """Take the answer of a call out of force, or erase all its versions.

        Returns:
            How many versions of it there were.

        Raises:
            NotFoundError: there is no response with this key.
            UsageError: it is out of force already, and is not to be erased.
        """
        async with self._database.writing() as connection:
            versions = await self._versions(connection, dataset_id, key)
            if not erase:
                _in_force(versions)
            act = CurationAct.ERASE if erase else CurationAct.RETIRE
            await self._record(connection, dataset_id, key, act, reason, _what_it_was(versions))
            await self._responses.retire(connection, dataset_id, [key], erase=erase)
        return len(versions)

    async def restore(self, dataset_id: int, key: str) -> None:
        """Put the last answer of a call into force again; nothing happens where one is in force.

        Raises:
            NotFoundError: there is no response with this key.
        """
        async with self._database.writing() as connection:
            last = (await self._versions(connection, dataset_id, key))[0]
            again = replace(last, created_at="", pinned=False)
            (kept,) = await self._responses.keep_within(connection, dataset_id, [again])
            if kept.is_new:
                await self._record(connection, dataset_id, key, CurationAct.RESTORE, "")

    async def of(self, dataset_id: int, key: str) -> list[CurationEvent]:
        """All that was done with the responses of a call, the latest first."""
        e = schema.response_events
        statement = sa.select(e).where(e.c.dataset_id == dataset_id, e.c.key == key).order_by(e.c.id.desc())
        async with self._database.reading() as connection:
            return [_event(row) for row in await connection.execute(statement)]

    async def latest(self, dataset_id: int, *, limit: int, offset: int = 0) -> list[CurationEvent]:
        """What was done in a dataset, the latest first."""
        e = schema.response_events
        statement = (
            sa.select(e)
            .where(e.c.dataset_id == dataset_id)
            .order_by(e.c.id.desc())
            .limit(limit)
            .offset(offset)
        )
        async with self._database.reading() as connection:
            return [_event(row) for row in await connection.execute(statement)]

    async def notes(self, dataset_id: int, keys: Sequence[str]) -> dict[str, str]:
        """The notes that stand beside these responses, by key."""
        e = schema.response_events.c
        found: dict[str, str] = {}
        async with self._database.reading() as connection:
            for start in range(0, len(keys), _CHUNK):
                statement = (
                    sa.select(e.key, e.text)
                    .where(
                        e.dataset_id == dataset_id,
                        e.key.in_(keys[start : start + _CHUNK]),
                        e.kind == CurationAct.NOTE.value,
                    )
                    .order_by(e.id)
                )
                found.update((row.key, row.text) for row in await connection.execute(statement))
        return {key: text for key, text in found.items() if text}

    async def _versions(self, connection: AsyncConnection, dataset_id: int, key: str) -> list[Response]:
        versions = await self._responses.versions_within(connection, dataset_id, key)
        if not versions:
            raise NotFoundError(f"There is no response {key[:64]!r}.", hint="List them with: stb cache ls.")
        return versions

    async def _record(
        self,
        connection: AsyncConnection,
        dataset_id: int,
        key: str,
        act: CurationAct,
        text: str,
        details: dict[str, Any] | None = None,
    ) -> None:
        if len(text) > MAX_TEXT:
            raise UsageError(f"The text has {len(text)} characters.", hint=f"Write {MAX_TEXT} at most.")
        await connection.execute(
            schema.response_events.insert().values(
                dataset_id=dataset_id,
                key=key,
                kind=act.value,
                # PostgreSQL stores neither NUL nor half of a surrogate pair.
                text=replace_surrogates(text.replace("\x00", "")),
                details=details or {},
                created_at=clock.now(),
            )
        )


def note_of(events: Sequence[CurationEvent]) -> str:
    """The note that stands beside a response, from its events, the latest first."""
    return next((event.text for event in events if event.act is CurationAct.NOTE), "")


def _in_force(versions: Sequence[Response]) -> Response:
    for version in versions:
        if version.superseded_at is None:
            return version
    raise UsageError(
        f"Response {versions[0].key[:12]} is no longer in force.",
        hint=f"See its versions: stb cache show {versions[0].key[:12]}.",
    )


def _what_it_was(versions: Sequence[Response]) -> dict[str, Any]:
    """The call and the hashes of its answers, the newest first."""
    last = versions[0]
    return {
        "category": last.category,
        "tool": last.tool,
        "api": last.api,
        "arguments": last.arguments.decode(errors="replace").replace("\x00", ""),
        "versions": [
            {
                "version": one.version,
                "provenance": one.provenance.value,
                "created_at": one.created_at,
                "body_sha256": hashlib.sha256(one.body).hexdigest(),
            }
            for one in versions
        ],
    }


def _event(row: sa.Row[Any]) -> CurationEvent:
    return CurationEvent(row.key, CurationAct(row.kind), row.text, row.created_at, row.details)
