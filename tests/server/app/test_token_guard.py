"""Who may do what: every path wants a token but those that are open on purpose."""

from __future__ import annotations

import hmac
from typing import Any

import pytest

from routes import Door, doors
from stb_core.store import Store
from stb_server.app import token_guard
from stb_server.worker.options import ServerOptions
from virtual_server import put_weather, running

TOKEN = "a-token-of-the-server"
OPEN = {"/healthz", "/login", "/static/{path}"}
"""Paths that want no token."""
OF_EPISODES = {
    "/v1/episodes/{episode_id}",
    "/v1/episodes/{episode_id}/calls",
    "/v1/episodes/{episode_id}/finish",
    "/mcp/e/{token}",
    "/proxy/e/{token}/v1/{path}",
}
"""Paths that want the token of an episode."""


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
    assert (
        OPEN | OF_EPISODES == {door.path for door, status in without.items() if status != 401} | OF_EPISODES
    )
    assert [] == [door for door, status in without.items() if door.path in OF_EPISODES and status < 400]
    assert without == wrong
    assert OPEN | OF_EPISODES >= {door.path for door, status in with_token.items() if status == 401}


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a refusal takes tells nothing about how much of a token was right."""
    compared: list[tuple[Any, Any]] = []
    compare = hmac.compare_digest

    def remember(one: Any, other: Any) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(token_guard.hmac, "compare_digest", remember)

    assert [True, False] == [
        token_guard.is_authorized(f"Bearer {one}".encode(), TOKEN) for one in (TOKEN, "no")
    ]
    assert 2 == len(compared)
