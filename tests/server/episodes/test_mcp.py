"""The official MCP client lists and calls an episode's tools over HTTP, in the protocols of 2025 and 2026."""

from __future__ import annotations

from importlib.metadata import version

import pytest
from mcp.client import Client
from mcp_types import TextContent

from stb_core.store import Store
from stb_core.values.trajectories import StopReason
from virtual_server import Running

from .conftest import open_episode, put_dataset, serving

MODES = ["legacy", "2026-07-28", "auto"]


def text_of(result) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_lists_and_calls_the_tools(server: Running, store: Store, mode: str) -> None:
    """Only those of the query and Finish; failures are errors of a tool; the record is as over HTTP."""
    player = await open_episode(server, run="r")
    async with Client(player.opened["mcp_url"], mode=mode) as client:
        tools = (await client.list_tools()).tools
        called = await client.call_tool("current_for_sky_watch", {"city": "Bonn"})
        missed = await client.call_tool("current_for_sky_watch", {"city": "Oslo"})
        invented = await client.call_tool("rain", {})
        unfinished = await client.call_tool("Finish", {"return_type": "give_answer"})
        finished = await client.call_tool("Finish", {"return_type": "give_answer", "final_answer": "No."})
        late = await client.call_tool("current_for_sky_watch", {"city": "Bonn"})

    assert ["current_for_sky_watch", "forecast_for_sky_watch", "Finish"] == [tool.name for tool in tools]
    assert ["city"] == tools[0].input_schema["required"]
    assert '{"error":"","response":"sunny"}' == text_of(called)
    assert "recorded" == (called.meta or {})["provenance"]
    results = (called, missed, invented, unfinished, finished, late)
    assert [False, True, True, True, False, True] == [result.is_error for result in results]
    assert "There is no function 'rain'" in text_of(invented)
    assert "The episode has ended: answered. Open another one." == text_of(late)
    (trajectory,) = [t async for t in store.runs.trajectories("r")]
    assert (StopReason.ANSWERED, "No.", 5) == (
        trajectory.stop,
        trajectory.final_answer,
        len(trajectory.steps),
    )


async def test_every_address_of_the_tools_is_served(server: Running) -> None:
    """Some clients append ``/mcp`` to an address, some a slash; the server says its name and version."""
    player = await open_episode(server)
    token = player.opened["token"]
    assert f"{server.url}/e/{token}/mcp" == player.opened["mcp_url"]
    for path in (f"/e/{token}/mcp", f"/e/{token}/mcp/", f"/mcp/e/{token}", f"/mcp/e/{token}/mcp"):
        async with Client(f"{server.url}{path}") as client:
            assert 3 == len((await client.list_tools()).tools)
            assert ("stabletoolbench", version("stabletoolbench")) == (
                client.server_info.name,
                client.server_info.version,
            )


async def test_an_unknown_token_opens_nothing(server: Running) -> None:
    """404, which no client takes for a way to log in; and there is nothing to listen to."""
    player = await open_episode(server)
    unknown = await server.client.post("/mcp/e/nobodys", json={})
    listening = await server.client.get(player.opened["mcp_url"])

    assert (404, "unknown_episode") == (unknown.status_code, unknown.json()["type"])
    assert (405, "POST") == (listening.status_code, listening.headers["allow"])


async def test_a_client_that_comes_too_fast_waits(sqlite_store: Store, sqlite_store_url: str) -> None:
    """Its agent is not told of it: no call fails."""
    await put_dataset(sqlite_store)
    async with serving(sqlite_store_url, rate_limit=5.0) as server:
        player = await open_episode(server)
        async with Client(player.opened["mcp_url"]) as client:
            results = [await client.call_tool("current_for_sky_watch", {"city": "Bonn"}) for _ in range(8)]

    assert {False} == {result.is_error for result in results}


async def test_without_the_sdk_the_address_says_what_to_install(
    sqlite_store: Store, sqlite_store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """501, with the name of the extra."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    await put_dataset(sqlite_store)
    async with serving(sqlite_store_url) as server:
        answer = await server.client.post("/mcp/e/any", json={})

    assert (501, "This server needs a package for MCP: pip install 'stabletoolbench[mcp]'.") == (
        answer.status_code,
        answer.json()["error"],
    )
