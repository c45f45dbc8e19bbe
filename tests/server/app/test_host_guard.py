"""A server on the loopback answers to its own names alone, on every path, and says what to do."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpx
import pytest

from stb_core.errors import UsageError
from stb_core.store import Store
from stb_server.app.inspector_only import create_inspector
from stb_server.worker.host_names import Hosts
from stb_server.worker.options import ServerOptions
from virtual_server import Running, put_weather, recorded, request, running


@pytest.fixture
async def server(sqlite_store: Store, sqlite_store_url: str) -> AsyncGenerator[Running]:
    """A server of this machine that is also known by another name."""
    await put_weather(sqlite_store, recorded({"city": "Bonn"}))
    options = ServerOptions(sqlite_store_url, "weather", hosts=Hosts(["stb.example.org"]))
    async with running(options) as started:
        yield started


@pytest.mark.parametrize(
    "header",
    [
        "localhost",
        "LOCALHOST:8080",
        "localhost.:8080",
        "stb.localhost",
        "127.0.0.1:1",
        "127.8.8.8",
        "[::1]:8080",
        "stb.example.org",
        "Stb.Example.Org:443",
        "a.lab.example",
        "b.a.lab.example:8080",
    ],
)
def test_names_of_ones_own(header: str) -> None:
    """Those of the loopback, those that were given, and what lies below a star; with any port."""
    assert Hosts(["stb.example.org", "*.lab.example"]).accept(header.encode())


@pytest.mark.parametrize(
    "header",
    [
        *("", "evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example"),
        *("evil-localhost", "192.168.0.1", "[::2]", "0.0.0.0", "lab.example", "xlab.example", "\xe9\xff"),
        *("evil.example@localhost", "[localhost", "0x7f000001"),
    ],
)
def test_names_of_others(header: str) -> None:
    """However they look."""
    assert not Hosts(["stb.example.org", "*.lab.example"]).accept(header.encode("latin-1"))


def test_a_star_is_any_name() -> None:
    """And what is no name is refused when the server starts."""
    assert Hosts(["*"]).accept(b"evil.example")
    for name in ("", "http://stb.example.org", "stb.example.org:8080", "a b"):
        with pytest.raises(UsageError, match="is not a host name"):
            Hosts([name])


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/v1/datasets", "/metrics", "/cache/weather", "/static/icon.svg"]
)
async def test_a_foreign_name_reaches_nothing(server: Running, path: str) -> None:
    """It is told under which name to start the server."""
    answer = await server.client.get(path, headers={"host": "evil.example:80"})

    assert (421, "unknown_host") == (answer.status_code, answer.headers["x-stb-error"])
    assert "'evil.example'" in answer.json()["error"]
    assert "--allow-host" in answer.json()["error"]


async def test_the_hot_path_is_guarded_too(server: Running) -> None:
    """A recorded call is answered under its own names alone."""
    body = request({"city": "Bonn"})

    own = await server.call(body, host="stb.example.org:8443")
    foreign = await server.call(body, host="evil.example")

    assert (200, 421) == (own.status_code, foreign.status_code)
    assert {"error", "response"} == foreign.json().keys()
    assert "unknown_host" == foreign.headers["x-stb-error"]


async def test_a_browser_reads_it_as_text(server: Running) -> None:
    """As nothing that could run."""
    headers = {"host": "<b>evil", "accept": "text/html"}
    answer = await server.client.get("/", headers=headers)

    assert answer.headers["content-type"].startswith("text/plain")


async def test_a_server_without_names_answers_to_any(sqlite_store: Store, sqlite_store_url: str) -> None:
    """As one that others reach by whatever name they have for it."""
    await put_weather(sqlite_store)
    async with running(ServerOptions(sqlite_store_url, "weather")) as server:
        answer = await server.client.get("/healthz", headers={"host": "server:8080"})

    assert 200 == answer.status_code


async def test_the_pages_alone_are_guarded(sqlite_store: Store, sqlite_store_url: str) -> None:
    """``stb view`` shows a store to this machine only."""
    await put_weather(sqlite_store)
    app = create_inspector(sqlite_store_url)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        own = await client.get("/")
        foreign = await client.get("/", headers={"host": "evil.example"})

    assert (200, 421) == (own.status_code, foreign.status_code)
