"""Connections are used again, one request at a time, and given up when they fail."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from llm_server import LLMServer, drop, text
from stb_core.http.lanes import Lanes
from virtual_server import eventually

BODY = {"messages": [{"role": "user", "content": "?"}]}


def client_of(llm: LLMServer) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=Lanes(llm.url), base_url=llm.url)


def ports(llm: LLMServer) -> set[int]:
    """The client's ports: one a connection."""
    return {port for _, port in llm.clients}


async def test_as_many_connections_as_requests_at_once(llm: LLMServer) -> None:
    """And the same again for the next requests."""
    llm.behaviour.latency_s = 0.05
    async with client_of(llm) as client:
        for _ in range(2):
            await asyncio.gather(*(client.post("/chat/completions", json=BODY) for _ in range(5)))

    assert (llm.count, len(ports(llm))) == (10, 5)


async def test_a_connection_that_failed_is_not_used_again(llm: LLMServer) -> None:
    """The next request opens another."""
    llm.answer(drop(), text("fine"))
    async with client_of(llm) as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.post("/chat/completions", json=BODY)
        answer = await client.post("/chat/completions", json=BODY)

    assert (answer.status_code, len(ports(llm))) == (200, 2)


async def test_a_request_that_is_given_up_leaves_no_half_answer_behind(llm: LLMServer) -> None:
    """Its connection is closed with it."""
    llm.behaviour.latency_s = 0.2
    async with client_of(llm) as client:
        asking = asyncio.create_task(client.post("/chat/completions", json=BODY))
        await eventually(lambda: llm.count == 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        llm.behaviour.latency_s = 0
        answer = await client.post("/chat/completions", json=BODY)

    assert answer.status_code == 200
    assert len(ports(llm)) == 2


async def test_proxies_of_the_environment_are_used(llm: LLMServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test server stands for a proxy: it gets the request that was meant for another host."""
    monkeypatch.setenv("HTTP_PROXY", llm.url.removesuffix("/v1"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("http_proxy", raising=False)
    async with httpx2.AsyncClient(transport=Lanes("http://models.invalid/v1")) as client:
        await client.post("http://models.invalid/v1/chat/completions", json=BODY)

    assert llm.headers[0]["host"] == "models.invalid"
