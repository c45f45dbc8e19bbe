"""What episodes were answered: calls with their answers, in order, for answers that depend on earlier ones."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.store import schema
from stb_core.store.database import Database
from stb_core.values import clock


class ToolInEpisode(NamedTuple):
    """One tool within one episode of one dataset."""

    dataset_id: int
    episode: str
    category: str
    tool: str


class PriorCall(NamedTuple):
    """A call that was answered; ``arguments`` is canonical JSON and ``body`` the exact answer."""

    api: str
    arguments: bytes
    body: bytes


class EpisodeCalls:
    """Reads and writes the calls of episodes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def history(self, place: ToolInEpisode) -> tuple[PriorCall, ...]:
        """The calls of a tool in an episode, oldest first."""
        e = schema.episode_calls.c
        statement = (
            sa.select(e.api, e.arguments, e.body)
            .where(
                e.dataset_id == place.dataset_id,
                e.episode == place.episode,
                e.category == place.category,
                e.tool == place.tool,
            )
            .order_by(e.id)
        )
        async with self._database.reading() as connection:
            return tuple(PriorCall(*row) for row in await connection.execute(statement))

    async def note_within(self, connection: AsyncConnection, place: ToolInEpisode, prior: PriorCall) -> None:
        """Add a call, within the caller's transaction."""
        values = {**place._asdict(), **prior._asdict(), "created_at": clock.now()}
        await connection.execute(schema.episode_calls.insert().values(values))
