"""What is posted again and again arrives as the library would send it, and is read as the library would."""

from __future__ import annotations

import gzip
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx2
import pytest

from llm_server import LLMServer
from raw_server import RawServer, reply, running_raw_server
from stb_core.http.lanes import Lanes
from stb_core.http.repeated_post import RepeatedPost


@asynccontextmanager
async def posting(url: str) -> AsyncGenerator[RepeatedPost]:
    """A post to ``url`` of a client that has a header of its own and follows redirections."""
    lanes = Lanes(url)
    async with httpx2.AsyncClient(
        transport=lanes, headers={"Authorization": "Bearer key"}, follow_redirects=True
    ) as http:
        yield RepeatedPost(http, lanes, httpx2.URL(url), {"Content-Type": "application/json"})


def said_to(server: RawServer) -> list[dict[str, str]]:
    """The headers of every request, but for the address and for how long the body is."""
    names = {"host", "content-length"}
    return [
        {k.lower(): v for k, v in heard.headers.items() if k.lower() not in names} for heard in server.heard
    ]


async def test_a_request_is_the_one_that_the_library_sends() -> None:
    """Its headers, the client's and the library's; bodies and headers of its own belong to one request alone."""
    async with running_raw_server(say=reply(body=b"whole", X_Told="yes")) as server:
        async with posting(f"{server.url}/say") as post:
            first = await post.send(b"hello", {"X-Own": "1"})
            await post.send(b"")
        async with httpx2.AsyncClient(headers={"Authorization": "Bearer key"}) as http:
            await http.post(
                f"{server.url}/say",
                content=b"hello",
                headers={"Content-Type": "application/json", "X-Own": "1"},
            )
            await http.post(f"{server.url}/say", content=b"", headers={"Content-Type": "application/json"})

    said = said_to(server)
    assert (200, "yes", b"whole") == (first.status, first.headers["x-told"], first.content)
    assert said[2:] == said[:2]
    assert [b"hello", b"", b"hello", b""] == [heard.body for heard in server.heard]
    assert 2 == server.connections


async def test_an_encoded_answer_is_decoded() -> None:
    """One that cannot be is an error."""
    packed = reply(body=gzip.compress(b"whole"), Content_Encoding="gzip")
    async with running_raw_server(say=packed) as server, posting(f"{server.url}/say") as post:
        assert "whole" == (await post.send(b"hello")).text
    async with (
        running_raw_server(say=reply(body=b"no gzip at all", Content_Encoding="gzip")) as server,
        posting(f"{server.url}/say") as post,
    ):
        with pytest.raises(httpx2.DecodingError):
            await post.send(b"hello")


async def test_a_redirection_is_followed() -> None:
    """With the body, and without the key where it leads to another host."""
    async with running_raw_server(say=reply(body=b"there")) as other:
        away = reply("307 Temporary Redirect", Location=f"{other.url}/say")
        async with running_raw_server(say=away) as server, posting(f"{server.url}/say") as post:
            assert "there" == (await post.send(b"hello", {"X-Own": "1"})).text

    assert b"hello" == other.heard[0].body
    assert "authorization" not in said_to(other)[0]
    assert "1" == said_to(other)[0]["x-own"]


async def test_a_name_and_a_password_in_the_address_are_sent() -> None:
    """As the library does."""
    async with (
        running_raw_server(say=reply(body=b"whole")) as server,
        posting(f"{server.url}/say".replace("//", "//me:secret@")) as post,
    ):
        await post.send(b"hello")

    assert "Basic bWU6c2VjcmV0" == said_to(server)[0]["authorization"]


async def test_a_proxy_of_the_environment_is_used(llm: LLMServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test server stands for a proxy: it gets the request that was meant for another host."""
    monkeypatch.setenv("HTTP_PROXY", llm.url.removesuffix("/v1"))
    for name in ("NO_PROXY", "no_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with posting("http://models.invalid/v1/chat/completions") as post:
        await post.send(b'{"messages": []}')

    assert "models.invalid" == llm.headers[0]["host"]


async def test_a_header_is_one_line() -> None:
    """Nothing can be smuggled in."""
    async with running_raw_server(say=reply(body=b"whole")) as server, posting(f"{server.url}/say") as post:
        with pytest.raises(httpx2.LocalProtocolError, match="line break"):
            await post.send(b"hello", {"X-Own": "1\r\nX-Other: 2"})

    assert [] == server.heard
