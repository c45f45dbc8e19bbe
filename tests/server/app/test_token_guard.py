"""Who may do what: every path wants a token but those that are open on purpose."""

from __future__ import annotations

import hmac
from typing import Any

import pytest

from routes import Door, doors
from stb_core.store import Store
from stb_server.worker.clients import Clients
from stb_server.worker.options import ServerOptions
from virtual_server import put_weather, running

TOKEN = "a-token-of-the-server"
OPEN = {"/healthz", "/login", "/static/{path}"}
"""Paths that want no token."""
OF_EPISODES = ("/v1/episodes/", "/e/", "/mcp/e/", "/proxy/e/")
"""Beginnings of paths that want the token of an episode."""


async def test_every_path_wants_a_token(sqlite_store: Store, sqlite_store_url: str) -> None:
    """Whatever path and method the application has: 401 without the token, and something else with it."""
    await put_weather(sqlite_store)
    async with running(ServerOptions(sqlite_store_url, "weather", token=TOKEN)) as server:

        async def statuses(**headers: str) -> dict[Door, int]:
            return {
                door: (await server.client.request(door.method, door.address, headers=headers)).status_code
                for door in doors(server.app)
            }

        without, wrong = await statuses(), await statuses(authorization="Bearer wrong")
        with_token = await statuses(authorization=f"Bearer {TOKEN}")

    assert len(without) > 40
    unguarded = {door for door, status in without.items() if status != 401}
    assert OPEN == {door.path for door in unguarded if not door.path.startswith(OF_EPISODES)}
    assert [] == [door for door in unguarded if door.path.startswith(OF_EPISODES) and without[door] < 400]
    assert without == wrong
    refused = {door.path for door, status in with_token.items() if status == 401}
    assert OPEN >= {path for path in refused if not path.startswith(OF_EPISODES)}


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a refusal takes tells nothing about how much of a token was right."""
    compared: list[tuple[Any, Any]] = []
    compare = hmac.compare_digest

    def remember(one: Any, other: Any) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", remember)
    clients = Clients(TOKEN)

    assert [True, False] == [bool(clients.of_header(f"Bearer {one}".encode())) for one in (TOKEN, "no")]
    assert [(TOKEN.encode(), TOKEN.encode()), (b"no", TOKEN.encode())] == compared
