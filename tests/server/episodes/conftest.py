"""Fixtures of the episodes' tests: a server of a small dataset with queries, and an agent that speaks HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from stb_core.store import Store
from stb_core.values.queries import Query
from stb_core.values.tools import ApiRef
from stb_server.worker.options import ServerOptions
from virtual_server import Running, put_weather, recorded, running

CURRENT = ApiRef("Weather", "sky_watch", "current")
FORECAST = ApiRef("Weather", "sky_watch", "forecast")
LONG = b'{"error":"","response":"' + b"x" * 2000 + b'"}'
QUERIES = [
    Query(query_id="1", group="G1_tool", text="Does it rain in Bonn?", apis=(CURRENT, FORECAST)),
    Query(query_id="2", group="G1_tool", text="Does it rain in Rome?", apis=(CURRENT,)),
    Query(query_id="2", group="G2_category", text="Does it rain at all?", apis=(CURRENT,)),
]
CALL = {"name": "current_for_sky_watch", "arguments": {"city": "Bonn"}}


@dataclass
class Player:
    """An agent in one episode, with the token that it was given."""

    client: httpx.AsyncClient
    opened: dict[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.opened['token']}"}

    @property
    def path(self) -> str:
        return f"/v1/episodes/{self.opened['id']}"

    async def call(self, name: str = CALL["name"], arguments: Any = None, **more: Any) -> httpx.Response:
        body = {"name": name, "arguments": {"city": "Bonn"} if arguments is None else arguments, **more}
        return await self.client.post(f"{self.path}/calls", json=body, headers=self.headers)

    async def finish(self, answer: Any) -> httpx.Response:
        return await self.client.post(f"{self.path}/finish", json={"answer": answer}, headers=self.headers)

    async def show(self) -> dict[str, Any]:
        answer = await self.client.get(self.path, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()


async def open_episode(server: Running, query_id: str = "1", **more: Any) -> Player:
    answer = await server.client.post("/v1/episodes", json={"query_id": query_id, **more})
    assert answer.status_code == 201, answer.text
    return Player(server.client, answer.json())


async def put_dataset(store: Store) -> None:
    dataset = await put_weather(
        store, recorded({"city": "Bonn"}), recorded({"city": "Rome"}, LONG), recorded({}, api="forecast")
    )
    async with store.writing() as connection:
        await store.datasets.put_queries(connection, dataset.id, QUERIES)


@asynccontextmanager
async def serving(store_url: str, **options: Any) -> AsyncGenerator[Running]:
    async with running(ServerOptions(store_url, "weather", **options)) as server:
        yield server


@pytest.fixture
async def server(store: Store, store_url: str) -> AsyncGenerator[Running]:
    """A server of the small dataset, on each database."""
    await put_dataset(store)
    async with serving(store_url) as started:
        yield started
