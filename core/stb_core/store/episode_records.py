"""Episodes that agents play over HTTP, in the store: what each may do, what it has done, how it ended.

Any worker can continue an episode, also after a restart. What is done is appended as events; when the
episode ends they become a trajectory of its run, in the same transaction.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.llm import AcceptedShapes, RefusedRequest, stop_after_refusal
from stb_core.store import schema
from stb_core.store.database import Database
from stb_core.store.runs import Runs
from stb_core.usage import Usage
from stb_core.values import Episode, Finished, StopReason, clock
from stb_core.values.episodes import (
    EpisodeEvent,
    EpisodeRecord,
    EventKind,
    FailedCall,
    Place,
    ProxiedCall,
    later,
    record_of,
    trajectory_of,
)


class EpisodeRecords:
    """Reads and writes episodes. Methods named ``…_within`` are part of the caller's transaction."""

    def __init__(self, database: Database, runs: Runs) -> None:
        self._database = database
        self._runs = runs

    async def find(self, *, id: str = "", token_hash: str = "") -> Episode | None:  # noqa: A002
        """The episode of an id, or of a token by its SHA-256."""
        e = schema.episodes.c
        where = e.id == id if id else e.token_hash == token_hash
        async with self._database.reading() as connection:
            row = (await connection.execute(sa.select(schema.episodes).where(where))).first()
        return None if row is None else _episode(row)

    async def overdue(self) -> list[str]:
        """The ids of open episodes whose time is up."""
        e = schema.episodes.c
        async with self._database.reading() as connection:
            where = e.stop.is_(None), e.expires_at <= clock.now()
            return list(await connection.scalars(sa.select(e.id).where(*where)))

    async def forget(self, before: str) -> None:
        """Delete the episodes that ended before a moment; the trajectories of runs stay."""
        e = schema.episodes
        async with self._database.writing() as connection:
            await connection.execute(e.delete().where(e.c.stop.is_not(None), e.c.ended_at < before))

    async def record(self, episode: Episode) -> EpisodeRecord:
        """What was done so far, in the order in which it was begun."""
        async with self._database.reading() as connection:
            return record_of(episode, await self._events(connection, episode.id))

    async def said_within(self, connection: AsyncConnection, episode: Episode) -> Finished | None:
        """The answer in the replies of an episode's model, where the episode takes it from there."""
        return record_of(episode, await self._events(connection, episode.id)).said

    async def open_at_within(self, connection: AsyncConnection, place: Place) -> Episode | None:
        """The open episode of a trial, which nobody else changes until the transaction ends."""
        e = schema.episodes.c
        where = [
            column == value
            for column, value in zip((e.run, e.group, e.query_id, e.trial), place, strict=True)
        ]
        statement = sa.select(schema.episodes).where(*where, e.stop.is_(None)).with_for_update()
        row = (await connection.execute(statement)).first()
        return None if row is None else _episode(row)

    async def put_within(self, connection: AsyncConnection, episode: Episode) -> bool:
        """Add an open episode; False where its trial has one."""
        row = {**vars(episode), "final_answer": ""}
        statement = self._database.insert(schema.episodes).values(row).on_conflict_do_nothing()
        return (await connection.execute(statement)).rowcount == 1

    async def open_within(self, connection: AsyncConnection, *, run: str | None, client: str) -> int:
        """How many episodes of a run, or of a client if those are more, are open."""
        e, count = schema.episodes.c, sa.select(sa.func.count()).select_from(schema.episodes)
        of_client = await connection.scalar(count.where(e.client == client, e.stop.is_(None))) or 0
        of_run = await connection.scalar(count.where(e.run == run, e.stop.is_(None))) or 0 if run else 0
        return max(of_client, of_run)

    async def locked_within(self, connection: AsyncConnection, episode_id: str) -> Episode:
        """An episode that nobody else changes until the transaction ends."""
        statement = sa.select(schema.episodes).where(schema.episodes.c.id == episode_id).with_for_update()
        return _episode((await connection.execute(statement)).one())

    async def event_within(
        self, connection: AsyncConnection, episode_id: str, call_id: str
    ) -> EpisodeEvent | None:
        """The event to which the agent gave that id."""
        v = schema.episode_events
        where = v.c.episode == episode_id, v.c.call_id == call_id
        row = (await connection.execute(sa.select(v).where(*where))).first()
        return None if row is None else _event(row)

    async def under_way_within(
        self, connection: AsyncConnection, episode_id: str, kind: EventKind, *, since: str
    ) -> bool:
        """Whether something of that kind that was begun since then has no answer yet."""
        v = schema.episode_events.c
        where = v.episode == episode_id, v.kind == kind, v.answered == 0, v.created_at > since
        return await connection.scalar(sa.select(v.id).where(*where).limit(1)) is not None

    async def begin_within(
        self,
        connection: AsyncConnection,
        episode: Episode,
        kind: EventKind,
        document: str,
        *,
        expires_at: str,
        call_id: str = "",
        answered: bool = False,
        counted: bool = True,
    ) -> int:
        """Add an event, and count it unless it is the end; returns its id."""
        e = schema.episodes
        counter = e.c.tool_calls if kind == "tool" else e.c.model_calls
        changes = {counter.name: counter + int(counted), "expires_at": expires_at}
        await connection.execute(e.update().where(e.c.id == episode.id).values(changes))
        return await self._add(connection, episode.id, kind, document, call_id=call_id, answered=answered)

    async def _add(
        self,
        connection: AsyncConnection,
        episode_id: str,
        kind: EventKind,
        document: str,
        *,
        call_id: str = "",
        answered: bool,
    ) -> int:
        v = schema.episode_events
        values = {
            "episode": episode_id,
            "kind": kind,
            "call_id": call_id or None,
            "document": document,
            "answered": int(answered),
            "created_at": clock.now(),
        }
        found: int = (await connection.execute(v.insert().values(values).returning(v.c.id))).scalar_one()
        return found

    async def answer_within(
        self,
        connection: AsyncConnection,
        episode_id: str,
        event_id: int,
        document: str,
        seconds: float,
        *,
        expires_at: str,
    ) -> None:
        """Complete an event; from now on it is the agent's turn."""
        e, v = schema.episodes, schema.episode_events
        values = {"document": document, "seconds": seconds, "answered": 1}
        await connection.execute(v.update().where(v.c.id == event_id).values(values))
        still_open = e.c.id == episode_id, e.c.stop.is_(None)
        await connection.execute(e.update().where(*still_open).values(expires_at=expires_at))

    async def note_simulator_within(self, connection: AsyncConnection, episode_id: str, usage: Usage) -> None:
        """Add what the server's simulator has consumed for a call."""
        document = ProxiedCall(usage=usage).model_dump_json()
        await self._add(connection, episode_id, "simulator", document, answered=True)

    async def fail_within(
        self,
        connection: AsyncConnection,
        episode_id: str,
        event_id: int,
        failure: FailedCall,
        *,
        expires_at: str,
    ) -> None:
        """Note that a call of a model brought no reply: it does not count, and it is the agent's turn."""
        e, v = schema.episodes, schema.episode_events
        values = {"kind": "failure", "document": failure.model_dump_json(), "answered": 1}
        await connection.execute(v.update().where(v.c.id == event_id).values(values))
        fewer = {"model_calls": e.c.model_calls - 1}
        await connection.execute(e.update().where(e.c.id == episode_id).values(fewer))
        still_open = e.c.id == episode_id, e.c.stop.is_(None)
        await connection.execute(e.update().where(*still_open).values(expires_at=expires_at))

    async def note_failure_within(
        self, connection: AsyncConnection, episode_id: str, failure: FailedCall
    ) -> None:
        """Note that a call of a model that is counted brought no reply all the same."""
        await self._add(connection, episode_id, "failure", failure.model_dump_json(), answered=True)

    async def usage_within(self, connection: AsyncConnection, episode_id: str) -> Usage:
        """What an episode's model calls have consumed so far."""
        v = schema.episode_events.c
        where = v.episode == episode_id, v.kind == "model", v.answered == 1
        documents = await connection.scalars(sa.select(v.document).where(*where))
        return sum((ProxiedCall.model_validate_json(document).usage for document in documents), Usage())

    async def end_within(
        self, connection: AsyncConnection, episode: Episode, finished: Finished, *, error: str = ""
    ) -> Episode:
        """End an open episode; where it has a run its trajectory becomes the next attempt of its trial.

        Where a call got no answer, what came of the episode is not the agent's doing. Nor is it where its
        model's endpoint failed last, or refused its last request and is to blame for that.
        """
        events = await self._events(connection, episode.id)
        found = replace(
            episode,
            stop=finished.stop,
            final_answer=finished.final_answer,
            error=error,
            ended_at=clock.now(),
        )
        record = record_of(found, events)
        if record.unanswered and found.stop is not StopReason.INFRASTRUCTURE:
            error = f"A call of {record.unanswered[0].function} got no answer and was not made again."
            found = replace(found, stop=StopReason.INFRASTRUCTURE, final_answer="", error=error)
        if found.run and record.failure:
            found = await self._after_failure(connection, found, record, record.failure)
        e = schema.episodes
        assert found.stop
        values = {
            "stop": found.stop.value,
            "final_answer": json.dumps(found.final_answer),  # as text it might hold a NUL
            "error": found.error,
            "ended_at": found.ended_at,
        }
        await connection.execute(e.update().where(e.c.id == episode.id).values(values))
        if found.run:
            source = finished.answer_source if found.stop is finished.stop else ""
            await self._runs.put_within(connection, found.run, [trajectory_of(found, record, source)])
        return found

    async def _after_failure(
        self, connection: AsyncConnection, ended: Episode, record: EpisodeRecord, failure: FailedCall
    ) -> Episode:
        """The ended episode, where the last call of its model brought no reply."""
        assert ended.stop
        if failure.is_pending and ended.stop is StopReason.MAX_SECONDS:
            return ended  # a slow model is not dead
        if failure.is_refusal:
            accepted = AcceptedShapes(lambda: self._shapes_of_run(connection, ended.run))
            for shape in record.shapes:
                accepted.add(shape)
            refused = RefusedRequest(
                failure.message, failure.reason, failure.shape, is_first=not record.shapes
            )
            stop = await stop_after_refusal(ended.stop, refused, accepted)
        else:
            stop = StopReason.INFRASTRUCTURE
        if stop is ended.stop:
            return ended
        return replace(ended, stop=stop, final_answer="", error=ended.error or failure.message)

    async def _shapes_of_run(self, connection: AsyncConnection, run: str | None) -> set[str]:
        """The shapes of the model calls that were answered in the episodes of a run that are still known."""
        e, v = schema.episodes.c, schema.episode_events.c
        statement = sa.select(v.document).join(schema.episodes, e.id == v.episode)
        documents = await connection.scalars(
            statement.where(e.run == run, v.kind == "model", v.answered == 1)
        )
        return {shape for text in documents if (shape := ProxiedCall.model_validate_json(text).shape)}

    async def refresh(self, idle_s: float) -> None:
        """Give all open episodes a fresh time to live, as when their server was away."""
        e = schema.episodes
        now = clock.now()
        fresh = later(now, idle_s)
        async with self._database.writing() as connection:
            rows = await connection.execute(sa.select(e).where(e.c.stop.is_(None), e.c.expires_at < fresh))
            for episode in map(_episode, rows.all()):
                until = episode.left_alone_at(now, idle_s)
                await connection.execute(e.update().where(e.c.id == episode.id).values(expires_at=until))

    async def _events(self, connection: AsyncConnection, episode_id: str) -> list[EpisodeEvent]:
        v = schema.episode_events
        rows = await connection.execute(sa.select(v).where(v.c.episode == episode_id).order_by(v.c.id))
        return [_event(row) for row in rows]


def _episode(row: sa.Row[Any]) -> Episode:
    values = dict(row._mapping)  # noqa: SLF001 - the documented way to a row's values by name
    stop = StopReason(values["stop"]) if values["stop"] else None
    return Episode(**{**values, "stop": stop, "final_answer": json.loads(values["final_answer"] or '""')})


def _event(row: sa.Row[Any]) -> EpisodeEvent:
    return EpisodeEvent(row.id, row.kind, row.document, bool(row.answered), row.seconds)
