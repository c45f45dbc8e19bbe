"""Episodes that agents play over HTTP: what each may do, what it has done, and how it ended.

An episode is one attempt at one query by an agent that runs elsewhere. All of it is in the store, so
that any worker can go on with it, also after a restart. What is done is appended as events; when the
episode ends they become a trajectory of its run, in the same transaction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core import clock, tables
from stb_core.observations import Finished
from stb_core.trajectories import Step, StopReason, Timing, Trajectory, Usage, conversation

if TYPE_CHECKING:
    from stb_core.store.store import Store

Kind = Literal["tool", "model"]
Place = tuple[str, str, str, int]
"""Run, group, query id and trial."""


@dataclass(frozen=True)
class Episode:
    """One episode; ``terms`` is what was agreed when it was opened, ``stop`` None while it is open.

    ``run`` is None where whoever opened it keeps the record. ``terms`` holds ``query``, ``agent``,
    ``model``, ``available_tools``, ``budget``, and whatever else its server needs to go on with it.
    """

    id: str
    token_hash: str
    client: str
    run: str | None
    group: str
    query_id: str
    trial: int
    terms: dict[str, Any]
    created_at: str
    expires_at: str
    tool_calls: int = 0
    model_calls: int = 0
    stop: StopReason | None = None
    final_answer: str = ""
    error: str = ""
    ended_at: str | None = None

    @property
    def budget(self) -> dict[str, float]:
        """The limits that are set, by name."""
        limits: dict[str, float] = self.terms["budget"]
        return limits

    @property
    def ends_at(self) -> str | None:
        """When its time is up; None without a limit."""
        seconds = self.budget.get("max_seconds")
        return None if seconds is None else later(self.created_at, seconds)


class ModelCall(BaseModel):
    """What a call of a model through the server's proxy consumed; ``model`` as the endpoint named it."""

    model_config = ConfigDict(frozen=True)

    model: str = ""
    usage: Usage = Usage()


@dataclass(frozen=True)
class Event:
    """One thing that was done: a call of a function with its step, or of a model with its usage.

    ``answered`` is False while it is under way, and for ever where that was cut off.
    """

    id: int
    kind: Kind
    document: str
    answered: bool
    seconds: float

    @property
    def step(self) -> Step:
        """The step of a call of a function."""
        return Step.model_validate_json(self.document)

    @property
    def model_call(self) -> ModelCall:
        """The call of a model."""
        return ModelCall.model_validate_json(self.document)


@dataclass(frozen=True)
class Record:
    """All that was done in an episode so far; ``model`` is the one that was asked first."""

    steps: tuple[Step, ...]
    model: str | None
    usage: Usage
    timing: Timing
    unanswered: tuple[Step, ...] = ()
    """Calls that got no answer and were not made again."""


def later(moment: str, seconds: float) -> str:
    """A moment so many seconds after another, as the store writes it."""
    return (datetime.fromisoformat(moment) + timedelta(seconds=seconds)).isoformat(timespec="microseconds")


class EpisodeRecords:
    """Reads and writes episodes. Methods named ``…_within`` are part of the caller's transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, *, id: str = "", token_hash: str = "") -> Episode | None:  # noqa: A002
        """The episode of an id, or of a token by its SHA-256."""
        e = tables.episodes.c
        where = e.id == id if id else e.token_hash == token_hash
        async with self._store.reading() as connection:
            row = (await connection.execute(sa.select(tables.episodes).where(where))).first()
        return None if row is None else _episode(row)

    async def overdue(self) -> list[str]:
        """The ids of open episodes whose time is up."""
        e = tables.episodes.c
        async with self._store.reading() as connection:
            where = e.stop.is_(None), e.expires_at <= clock.now()
            return list(await connection.scalars(sa.select(e.id).where(*where)))

    async def record(self, episode: Episode) -> Record:
        """What was done so far, in the order in which it was begun."""
        async with self._store.reading() as connection:
            return _record(episode, await self._events(connection, episode.id))

    async def open_at_within(self, connection: AsyncConnection, place: Place) -> Episode | None:
        """The open episode of a trial, which nobody else changes until the transaction ends."""
        e = tables.episodes.c
        where = [
            column == value
            for column, value in zip((e.run, e.group, e.query_id, e.trial), place, strict=True)
        ]
        statement = sa.select(tables.episodes).where(*where, e.stop.is_(None)).with_for_update()
        row = (await connection.execute(statement)).first()
        return None if row is None else _episode(row)

    async def put_within(self, connection: AsyncConnection, episode: Episode) -> bool:
        """Add an open episode; False where its trial has one."""
        row = {**vars(episode), "final_answer": ""}
        statement = self._store.insert(tables.episodes).values(row).on_conflict_do_nothing()
        return (await connection.execute(statement)).rowcount == 1

    async def open_within(self, connection: AsyncConnection, *, run: str | None, client: str) -> int:
        """How many episodes of a run, or of a client if those are more, are open."""
        e, count = tables.episodes.c, sa.select(sa.func.count()).select_from(tables.episodes)
        of_client = await connection.scalar(count.where(e.client == client, e.stop.is_(None))) or 0
        of_run = await connection.scalar(count.where(e.run == run, e.stop.is_(None))) or 0 if run else 0
        return max(of_client, of_run)

    async def locked_within(self, connection: AsyncConnection, episode_id: str) -> Episode:
        """An episode that nobody else changes until the transaction ends."""
        statement = sa.select(tables.episodes).where(tables.episodes.c.id == episode_id).with_for_update()
        return _episode((await connection.execute(statement)).one())

    async def event_within(self, connection: AsyncConnection, episode_id: str, call_id: str) -> Event | None:
        """The event to which the agent gave that id."""
        v = tables.episode_events
        where = v.c.episode == episode_id, v.c.call_id == call_id
        row = (await connection.execute(sa.select(v).where(*where))).first()
        return None if row is None else _event(row)

    async def under_way_within(self, connection: AsyncConnection, episode_id: str, *, since: str) -> bool:
        """Whether a call of a function that was begun since then has no answer yet."""
        v = tables.episode_events.c
        where = v.episode == episode_id, v.kind == "tool", v.answered == 0, v.created_at > since
        return await connection.scalar(sa.select(v.id).where(*where).limit(1)) is not None

    async def begin_within(
        self,
        connection: AsyncConnection,
        episode: Episode,
        kind: Kind,
        document: str,
        *,
        expires_at: str,
        call_id: str = "",
        answered: bool = False,
        counted: bool = True,
    ) -> int:
        """Add an event, and count it unless it is the end; returns its id."""
        e, v = tables.episodes, tables.episode_events
        counter = e.c.tool_calls if kind == "tool" else e.c.model_calls
        changes = {counter.name: counter + int(counted), "expires_at": expires_at}
        await connection.execute(e.update().where(e.c.id == episode.id).values(changes))
        values = {
            "episode": episode.id,
            "kind": kind,
            "call_id": call_id or None,
            "document": document,
            "answered": int(answered),
            "created_at": clock.now(),
        }
        found: int = (await connection.execute(v.insert().values(values).returning(v.c.id))).scalar_one()
        return found

    async def answer_within(
        self, connection: AsyncConnection, event_id: int, document: str, seconds: float
    ) -> None:
        """Complete an event."""
        v = tables.episode_events
        values = {"document": document, "seconds": seconds, "answered": 1}
        await connection.execute(v.update().where(v.c.id == event_id).values(values))

    async def forget_within(self, connection: AsyncConnection, episode_id: str, event_id: int) -> None:
        """Take back a call of a model that was not answered: it does not count."""
        e, v = tables.episodes, tables.episode_events
        await connection.execute(v.delete().where(v.c.id == event_id))
        fewer = {"model_calls": e.c.model_calls - 1}
        await connection.execute(e.update().where(e.c.id == episode_id).values(fewer))

    async def usage_within(self, connection: AsyncConnection, episode_id: str) -> Usage:
        """What an episode's model calls have consumed so far."""
        v = tables.episode_events.c
        where = v.episode == episode_id, v.kind == "model", v.answered == 1
        documents = await connection.scalars(sa.select(v.document).where(*where))
        return sum((ModelCall.model_validate_json(document).usage for document in documents), Usage())

    async def end_within(
        self, connection: AsyncConnection, episode: Episode, finished: Finished, *, error: str = ""
    ) -> Episode:
        """End an open episode; where it has a run its trajectory becomes the next attempt of its trial.

        Where a call got no answer, what came of the episode is not the agent's doing.
        """
        events = await self._events(connection, episode.id)
        ended = {
            "stop": finished.stop,
            "final_answer": finished.final_answer,
            "error": error,
            "ended_at": clock.now(),
        }
        found = _episode_with(episode, ended)
        record = _record(found, events)
        if record.unanswered and found.stop is not StopReason.INFRASTRUCTURE:
            told = f"A call of {record.unanswered[0].function} got no answer and was not made again."
            found = _episode_with(
                found, {"stop": StopReason.INFRASTRUCTURE, "final_answer": "", "error": told}
            )
        e = tables.episodes
        assert found.stop
        values = {
            "stop": found.stop.value,
            "final_answer": json.dumps(found.final_answer),  # as text it might hold a NUL
            "error": found.error,
            "ended_at": found.ended_at,
        }
        await connection.execute(e.update().where(e.c.id == episode.id).values(values))
        if found.run:
            await self._store.runs.put_within(connection, found.run, [_trajectory(found, record)])
        return found

    async def refresh(self, idle_s: float) -> None:
        """Give all open episodes a fresh time to live, as when their server was away."""
        e = tables.episodes
        fresh = later(clock.now(), idle_s)
        async with self._store.writing() as connection:
            rows = await connection.execute(sa.select(e).where(e.c.stop.is_(None), e.c.expires_at < fresh))
            for episode in map(_episode, rows.all()):
                until = min(fresh, episode.ends_at or fresh)
                await connection.execute(e.update().where(e.c.id == episode.id).values(expires_at=until))

    async def _events(self, connection: AsyncConnection, episode_id: str) -> list[Event]:
        v = tables.episode_events
        rows = await connection.execute(sa.select(v).where(v.c.episode == episode_id).order_by(v.c.id))
        return [_event(row) for row in rows]


def _episode_with(episode: Episode, values: dict[str, Any]) -> Episode:
    return Episode(**{**vars(episode), **values})


def _record(episode: Episode, events: Sequence[Event]) -> Record:
    calls = [event for event in events if event.kind == "tool"]
    models = [event for event in events if event.kind == "model" and event.answered]
    answered = [(event.id, event.step) for event in calls if event.answered]
    unanswered = [
        event.step
        for event in calls
        if not event.answered
        and not any(
            number > event.id
            and (step.function, step.arguments) == (event.step.function, event.step.arguments)
            for number, step in answered
        )
    ]
    asked = [event.model_call for event in models]
    until = datetime.fromisoformat(episode.ended_at or clock.now())
    return Record(
        steps=tuple(step for _, step in answered),
        model=episode.terms["model"] or next((made.model for made in asked if made.model), None),
        usage=sum((made.usage for made in asked), Usage()),
        timing=Timing(
            seconds=(until - datetime.fromisoformat(episode.created_at)).total_seconds(),
            model_seconds=sum(event.seconds for event in models),
            tool_seconds=sum(event.seconds for event in calls),
        ),
        unanswered=tuple(unanswered),
    )


def _trajectory(episode: Episode, record: Record) -> Trajectory:
    terms = episode.terms
    assert episode.stop
    return Trajectory(
        group=episode.group,
        query_id=episode.query_id,
        query=terms["query"],
        trial=episode.trial,
        agent=terms["agent"],
        model=record.model,
        available_tools=tuple(terms["available_tools"]),
        messages=conversation(terms["query"], record.steps),
        steps=record.steps,
        stop=episode.stop,
        final_answer=episode.final_answer,
        usage=record.usage,
        timing=record.timing,
        error=episode.error,
    )


def _episode(row: sa.Row[Any]) -> Episode:
    values = dict(row._mapping)  # noqa: SLF001 - the documented way to a row's values by name
    stop = StopReason(values["stop"]) if values["stop"] else None
    return Episode(**{**values, "stop": stop, "final_answer": json.loads(values["final_answer"] or '""')})


def _event(row: sa.Row[Any]) -> Event:
    return Event(row.id, row.kind, row.document, bool(row.answered), row.seconds)
