"""A null for a documented optional parameter is no argument, whoever sends the call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client

from real_api import running_real_api
from stb_core.store import Store
from stb_core.values import CacheMode, Query
from stb_server.worker.options import ServerOptions
from virtual_server import put_weather, recorded, request, running

NULL = {"city": "Bonn", "days": None}
GIVEN = recorded({"city": "Bonn"})
QUERY = {"query_id": "1", "group": "G1", "text": "Rain?", "apis": [("Weather", "sky_watch", "current")]}


async def test_an_optional_parameter_that_is_null_is_not_given(store: Store, store_url: str) -> None:
    """The call has the key that it has without, from the store and from memory."""
    await put_weather(store, GIVEN)
    async with running(ServerOptions(store_url, "weather")) as server:
        answers = [await server.call(request(NULL)) for _ in range(2)]

    assert ["recorded"] * 2 == [answer.headers["x-stb-provenance"] for answer in answers]
    assert [GIVEN.key] * 2 == [answer.headers["x-stb-key"] for answer in answers]
    assert ["store", "memory"] == [answer.headers["x-stb-cache"] for answer in answers]


@pytest.mark.parametrize(
    ("arguments", "api"),
    [
        ({"city": None}, "Current"),
        ({"city": "Bonn", "depth": None}, "Current"),
        ({"city": "Bonn", "days": [None]}, "Current"),
        ({"days": None}, "Forecast"),
    ],
    ids=["required", "not documented", "within a value", "of an API without parameters"],
)
async def test_other_nulls_are_arguments(
    sqlite_store: Store, sqlite_store_url: str, arguments: dict[str, Any], api: str
) -> None:
    """They make another call."""
    await put_weather(sqlite_store, GIVEN, recorded({}, api="forecast"), recorded({}))
    async with running(ServerOptions(sqlite_store_url, "weather")) as server:
        answer = await server.call(request(arguments, api))

    assert recorded(arguments, api=api.lower()).key == answer.headers["x-stb-key"]
    assert "miss" == answer.headers["x-stb-provenance"]


async def test_the_real_api_is_asked_without_the_null(
    sqlite_store: Store, sqlite_store_url: str, tmp_path: Path
) -> None:
    """And its answer is kept under the call without it, and found by it."""
    dataset = await put_weather(sqlite_store)
    async with running_real_api(tmp_path) as api:
        options = ServerOptions(sqlite_store_url, "weather", CacheMode.AUTO, upstream=api.config)
        async with running(options) as server:
            answers = [await server.call(request(arguments)) for arguments in (NULL, {"city": "Bonn"})]

    assert {'{"city": "Bonn"}': 1} == dict(api.calls)
    assert ["live", "recorded"] == [answer.headers["x-stb-provenance"] for answer in answers]
    assert await sqlite_store.responses.get(dataset.id, GIVEN.key) is not None


async def test_episodes_and_mcp(sqlite_store: Store, sqlite_store_url: str) -> None:
    """An agent's function call with a null finds the recording over HTTP and over MCP."""
    dataset = await put_weather(sqlite_store, GIVEN)
    async with sqlite_store.writing() as connection:
        await sqlite_store.datasets.put_queries(connection, dataset.id, [Query.model_validate(QUERY)])
    async with running(ServerOptions(sqlite_store_url, "weather")) as server:
        opened = (await server.client.post("/v1/episodes", json={"query_id": "1"})).json()
        called = await server.client.post(
            f"/v1/episodes/{opened['id']}/calls",
            json={"name": "current_for_sky_watch", "arguments": NULL},
            headers={"Authorization": f"Bearer {opened['token']}"},
        )
        async with Client(opened["mcp_url"]) as client:
            over_mcp = await client.call_tool("current_for_sky_watch", NULL)

    assert "recorded" == called.json()["provenance"]
    assert "recorded" == (over_mcp.meta or {})["provenance"]
