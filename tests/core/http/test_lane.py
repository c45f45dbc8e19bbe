"""One connection reads every kind of answer to its end, and says what was wrong with what is none."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
import trustme
import uvloop

from raw_server import Heard, RawServer, Say, reply, running_raw_server
from stb_core.errors import UsageError
from stb_core.http.lane import Lane
from stb_core.http.lanes import Lanes
from virtual_server import eventually

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwhol\r\n1\r\ne\r\n0\r\nTrailer: x\r\n\r\n"
)


def sending(data: bytes, *, then_s: float = 0.0, rest: bytes = b"") -> Say:
    """Sends bytes, waits, sends the rest, and closes the connection."""

    async def say(_: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(then_s)
        writer.write(rest)

    return say


async def post(server: RawServer, **timeout: Any) -> httpx2.Response:
    limits = httpx2.Timeout(60, **timeout)
    async with httpx2.AsyncClient(transport=Lanes(server.url), base_url=server.url, timeout=limits) as client:
        return await client.post("/say", content=b"hello")


@pytest.mark.parametrize(
    "said",
    [
        reply(body=b"whole"),
        CHUNKED,
        reply(body=gzip.compress(b"whole"), Content_Encoding="gzip"),
        sending(b"HTTP/1.1 200 OK\r\n\r\nwho", rest=b"le"),
        sending(b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\nwhole"),
        sending(b"HTTP/1.1 200 OK\r\nContent-Le", then_s=0.05, rest=b"ngth: 5\r\n\r\nwhole"),
        sending(b"HTTP/1.1 100 Continue\r\n\r\n", then_s=0.05, rest=reply(body=b"whole")),
    ],
    ids=["length", "chunks", "gzip", "to the end", "HTTP/1.0", "in pieces", "after a 100"],
)
async def test_an_answer_is_read_to_its_end(said: bytes | Say) -> None:
    """However its length is told."""
    async with running_raw_server(say=said) as server:
        response = await post(server)

    assert (response.status_code, response.text) == (200, "whole")
    assert (server.heard[0].method, server.heard[0].body) == ("POST", b"hello")


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (sending(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), httpx2.RemoteProtocolError),
        (
            sending(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf"),
            httpx2.RemoteProtocolError,
        ),
        (sending(b""), httpx2.RemoteProtocolError),
        (sending(b"HTTP/1.1 200 OK\r\nServer"), httpx2.RemoteProtocolError),
        (sending(b"220 mail ready\r\n", then_s=0.1), httpx2.RemoteProtocolError),
        (sending(b"HTTP/1.1 200 OK\r\n", then_s=600), httpx2.ReadTimeout),
    ],
    ids=["half a body", "half a chunk", "nothing", "half a head", "no HTTP", "silence"],
)
async def test_what_is_no_whole_answer_is_an_error(said: Say, problem: type[Exception]) -> None:
    """Of the kind that the library has for it."""
    async with running_raw_server(say=said) as server:
        with pytest.raises(problem):
            await post(server, **({"read": 0.2} if problem is httpx2.ReadTimeout else {}))


async def test_a_slow_answer_is_waited_for_as_long_as_something_comes() -> None:
    """The limit is on silence."""

    async def slowly(_: Heard, writer: asyncio.StreamWriter) -> None:
        for byte in reply(body=b"whole"):
            writer.write(bytes([byte]))
            await asyncio.sleep(0.03)

    async with running_raw_server(say=slowly) as server:
        response = await post(server, read=1.5)

    assert response.text == "whole"


async def test_nobody_there_is_an_error_of_connecting() -> None:
    """With the reason."""
    with pytest.raises(httpx2.ConnectError, match="Connection refused"):
        await post(RawServer(port=9))


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1", "http://"])
async def test_an_address_that_is_none_of_the_web_is_refused(url: str) -> None:
    """Before anything is connected to."""
    with pytest.raises(httpx2.UnsupportedProtocol, match="does not begin with http"):
        await Lanes(url).handle_async_request(httpx2.Request("GET", url))


async def test_a_connection_that_the_other_side_closes_is_not_used_again() -> None:
    """Nor one that it said it would close."""
    async with running_raw_server(say=reply(body=b"1", Connection="close")) as server:
        async with httpx2.AsyncClient(transport=Lanes(server.url), base_url=server.url) as client:
            for _ in range(2):
                await client.post("/say")
        assert server.connections == 2
    async with running_raw_server(say=sending(reply(body=b"1"))) as server:
        lanes = Lanes(server.url)
        async with httpx2.AsyncClient(transport=lanes, base_url=server.url) as client:
            await client.post("/say")
            await eventually(lambda: not any(cast("Lane", lane).is_open for lane in lanes._idle))
            await client.post("/say")
        assert server.connections == 2


async def test_what_nobody_asked_for_closes_the_connection() -> None:
    """It is not taken for the next answer."""
    said = reply(body=b"1") + reply(body=b"2")
    async with (
        running_raw_server(say=said) as server,
        httpx2.AsyncClient(transport=Lanes(server.url), base_url=server.url) as client,
    ):
        assert [(await client.post("/say")).text for _ in range(2)] == ["1", "1"]


async def test_a_header_is_one_line() -> None:
    """A key with a line break cannot smuggle another header in."""
    request = httpx2.Request("POST", "http://127.0.0.1:9/", headers=[(b"Authorization", b"x\r\nHost: evil")])

    with pytest.raises(httpx2.LocalProtocolError, match="line break"):
        await Lane("127.0.0.1", 9, None).handle_async_request(request)


async def test_a_redirection_leads_to_another_host() -> None:
    """Not to the same by another name."""
    async with running_raw_server(say=reply(body=b"there")) as other:
        away = reply("307 Temporary Redirect", Location=f"{other.url}/say")
        async with (
            running_raw_server(say=away) as server,
            httpx2.AsyncClient(transport=Lanes(server.url), follow_redirects=True) as client,
        ):
            assert (await client.post(f"{server.url}/say", content=b"hello")).text == "there"

    assert other.heard[0].body == b"hello"


def test_an_address_that_cannot_be_read_is_one_line() -> None:
    """With what is wrong with it."""
    with pytest.raises(UsageError, match=r"'http://127\.0\.0\.1:bad' is no address: Invalid port"):
        Lanes("http://127.0.0.1:bad")


async def test_certificates_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nobody vouches for is refused, one of a known authority is taken."""
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with running_raw_server(tls, say=reply(body=b"whole")) as server:
        url = server.url.replace("http:", "https:")
        async with httpx2.AsyncClient(transport=Lanes(url)) as client:
            with pytest.raises(httpx2.ConnectError, match="certificate verify failed"):
                await client.post(f"{url}/say")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        async with httpx2.AsyncClient(transport=Lanes(url)) as client:
            assert (await client.post(f"{url}/say")).text == "whole"


def test_it_works_on_the_loop_of_servers_too() -> None:
    """Simulators ask their models from within uvloop."""

    async def ask() -> str:
        async with running_raw_server(say=CHUNKED) as server:
            return (await post(server)).text

    assert uvloop.run(ask()) == "whole"
