"""A compressed body is refused with the reason, on every path that takes one."""

from __future__ import annotations

import gzip

import pytest

from stb_core.store import Store
from stb_server.worker.options import ServerOptions
from virtual_server import put_weather, recorded, request, running

BONN = recorded({"city": "Bonn"})


@pytest.mark.parametrize("path", ["/virtual", "/v1/episodes", "/v1/episodes/1/calls", "/mcp/e/token"])
async def test_a_compressed_body(sqlite_store: Store, sqlite_store_url: str, path: str) -> None:
    """415, in words, whatever the compression."""
    await put_weather(sqlite_store, BONN)
    async with running(ServerOptions(sqlite_store_url, "weather")) as server:
        answers = [
            await server.client.post(path, content=gzip.compress(b"{}"), headers={"Content-Encoding": coding})
            for coding in ("gzip", "zstd")
        ]

    assert [415, 415] == [answer.status_code for answer in answers]
    assert {"unsupported_encoding"} == {answer.headers["x-stb-error"] for answer in answers}
    assert "without Content-Encoding" in answers[0].json()["error"]


async def test_identity_is_no_compression(sqlite_store: Store, sqlite_store_url: str) -> None:
    """A client may say that it did not compress."""
    await put_weather(sqlite_store, BONN)
    async with running(ServerOptions(sqlite_store_url, "weather")) as server:
        answer = await server.call(request({"city": "Bonn"}), Content_Encoding="identity")

    assert BONN.body == answer.content
