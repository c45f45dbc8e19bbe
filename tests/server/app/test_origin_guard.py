"""A web page of another site can make the server do nothing, on any path; programs and own pages can."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpx
import pytest

from routes import Door, doors
from stb_core.store import Store
from stb_server.app.inspector_only import create_inspector
from stb_server.app.origin_guard import problem
from stb_server.worker.host_names import Hosts
from stb_server.worker.options import ServerOptions
from virtual_server import Running, put_weather, recorded, request, running

FOREIGN = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site", "origin": "http://localhost:3000"},
    {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
]
COSTLY = {
    "/virtual",
    "/v1/datasets/{name}/snapshots",
    "/v1/episodes",
    "/v1/episodes/{episode_id}/calls",
    "/v1/episodes/{episode_id}/finish",
    "/mcp/e/{token}",
    "/proxy/e/{token}/{path}",
    "/cache/{dataset}/try",
    "/cache/{dataset}/{key}",
    "/edit",
    "/login",
}
"""Paths that spend something or change something."""
OWN = [
    {},
    {"sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "none"},
    {"origin": "http://127.0.0.1:8080", "host": "127.0.0.1:8080"},
    {"origin": "https://stb.example.org"},
]


@pytest.fixture
async def server(sqlite_store: Store, sqlite_store_url: str) -> AsyncGenerator[Running]:
    """A server of this machine that is also known by another name, and that hands on model calls."""
    await put_weather(sqlite_store, recorded({"city": "Bonn"}))
    options = ServerOptions(sqlite_store_url, "weather", hosts=Hosts(["stb.example.org"]), proxy="openai")
    async with running(options) as started:
        yield started


@pytest.mark.parametrize("headers", FOREIGN)
async def test_a_foreign_page_sends_nothing(server: Running, headers: dict[str, str]) -> None:
    """On each path that does more than read, those of today and later ones, and on paths that do not exist."""
    ways = [door for door in doors(server.app) if door.method not in {"GET", "OPTIONS"}]
    ways.append(Door("POST", "/no/such/path"))

    answers = {
        way: await server.client.request(
            way.method, way.address, json=request({"city": "Bonn"}), headers=headers
        )
        for way in ways
    }

    assert COSTLY <= {way.path for way in ways}
    assert {} == {
        way: answer.text
        for way, answer in answers.items()
        if (answer.status_code, answer.headers.get("x-stb-error")) != (403, "foreign_origin")
        or "A web page of another site sent this" not in answer.json()["error"]
    }


async def test_a_foreign_page_leaves_nothing_behind(server: Running, sqlite_store: Store) -> None:
    """Neither a miss nor a snapshot, whatever type its body pretends to be."""
    for content_type in ("text/plain", "application/x-www-form-urlencoded"):
        headers = {"origin": "https://evil.example", "content-type": content_type}
        await server.client.post("/virtual", json=request({"city": "Rome"}), headers=headers)
        await server.client.post("/v1/datasets/weather/snapshots", headers=headers)
    await server.worker.resources.ledger.close()

    dataset = await sqlite_store.datasets.get("weather")
    assert [] == await sqlite_store.misses.most_frequent(dataset.id)
    assert await sqlite_store.snapshots.get(dataset.id, dataset.responses_hash) is None


@pytest.mark.parametrize("headers", OWN)
async def test_programs_and_own_pages_are_served(server: Running, headers: dict[str, str]) -> None:
    """A client without these headers, a page of the host that was asked, and one of a name it was told."""
    call = await server.client.post("/virtual", json=request({"city": "Bonn"}), headers=headers)
    snapshot = await server.client.post("/v1/datasets/weather/snapshots", headers=headers)

    assert (200, 201) == (call.status_code, snapshot.status_code)


async def test_reading_is_left_to_the_browser(server: Running) -> None:
    """A link on another site may lead to a page of the server."""
    answer = await server.client.get("/cache/weather", headers={"sec-fetch-site": "cross-site"})

    assert 200 == answer.status_code


@pytest.mark.parametrize(
    ("origin", "host", "is_own"),
    [
        ("https://lab.example", "lab.example", True),
        ("https://lab.example", "lab.example:443", True),
        ("http://LAB.example", "lab.Example:80", True),
        ("http://[::1]:8080", "[::1]:8080", True),
        ("http://lab.example:8080", "lab.example:8081", False),
        ("http://lab.example.evil.example", "lab.example", False),
        ("http://localhost:3000", "localhost:8080", False),
        ("null", "", False),
        ("null", "null", False),
        ("file://", "", False),
        ("chrome-extension://abc", "abc", False),
        ("", "", False),
    ],
)
def test_an_origin_is_the_host_that_was_asked(origin: str, host: str, is_own: bool) -> None:
    """With its port, where that is not the usual one; an origin without a host is never one's own."""
    headers = [(b"host", host.encode()), (b"origin", origin.encode())]

    assert is_own is (problem(headers, Hosts([])) == "")


def test_any_host_is_not_any_origin() -> None:
    """A server that answers to any name still takes nothing from pages of other hosts."""
    headers = [(b"host", b"lab.example"), (b"origin", b"https://evil.example")]

    assert [True, True] == [bool(problem(headers, hosts)) for hosts in (None, Hosts(["*"]))]


async def test_the_pages_alone_are_guarded(sqlite_store: Store, sqlite_store_url: str) -> None:
    """``stb view`` follows no form of another site."""
    await put_weather(sqlite_store)
    app = create_inspector(sqlite_store_url, write_token="a write token")
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        form = {"write_token": "a write token", "next": "/"}
        own = await client.post("/edit", data=form)
        foreign = await client.post("/edit", data=form, headers={"origin": "http://evil.example"})

    assert (303, 403) == (own.status_code, foreign.status_code)
