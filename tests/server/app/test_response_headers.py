"""No browser guesses at what an answer is."""

from __future__ import annotations

import pytest

from stb_core.store import Store
from stb_server.worker.options import ServerOptions
from virtual_server import put_weather, recorded, request, running


@pytest.mark.parametrize(
    "path", ["/healthz", "/metrics", "/v1/datasets", "/v1/nothing", "/", "/openapi.json"]
)
async def test_every_answer_has_the_header_once(
    sqlite_store: Store, sqlite_store_url: str, path: str
) -> None:
    """Pages, JSON and errors alike."""
    await put_weather(sqlite_store)
    async with running(ServerOptions(sqlite_store_url, "weather")) as server:
        answer = await server.client.get(path)

    assert ["nosniff"] == answer.headers.get_list("x-content-type-options")


async def test_calls_have_it_too(sqlite_store: Store, sqlite_store_url: str) -> None:
    """From the store, from memory, and when refused."""
    await put_weather(sqlite_store, recorded({"city": "Bonn"}))
    async with running(ServerOptions(sqlite_store_url, "weather")) as server:
        answers = [await server.call(request({"city": "Bonn"})) for _ in range(2)]
        answers.append(await server.client.post("/virtual", content=b"{"))

    assert [["nosniff"]] * 3 == [answer.headers.get_list("x-content-type-options") for answer in answers]
