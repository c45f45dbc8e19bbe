"""The HTTP client, over real connections: responses, failures, connections, redirects, proxies, certificates."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from llm_server import LLMServer, drop, text
from raw_server import Heard, RawServer, Say, reply, running_raw_server
from stb_core.errors import UsageError
from stb_core.http import HttpClient, HttpError, HttpResponse, HttpTimeoutError, ResponseTooLargeError
from virtual_server import eventually

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwhol\r\n1\r\ne\r\n0\r\nTrailer: x\r\n\r\n"
)
COMPLETION = b'{"messages": [{"role": "user", "content": "?"}]}'


def client_of(url: str, **options: Any) -> HttpClient:
    return HttpClient(url, **{"connect_timeout_s": 60.0, "read_timeout_s": 60.0} | options)


async def post(server: RawServer, **options: Any) -> HttpResponse:
    async with client_of(server.url, **options) as client:
        return await client.request("POST", "/say", b"hello")


async def complete(client: HttpClient) -> HttpResponse:
    return await client.request("POST", "/chat/completions", COMPLETION, {"Content-Type": "application/json"})


def sending(data: bytes, *, then_s: float = 0.0, rest: bytes = b"") -> Say:
    """Sends bytes, waits, sends the rest, and closes the connection."""

    async def say(_: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(then_s)
        writer.write(rest)

    return say


def ports(llm: LLMServer) -> set[int]:
    """The client's ports: one per connection."""
    return {port for _, port in llm.clients}


# Responses.


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
async def test_a_response_is_read_to_its_end(said: bytes | Say) -> None:
    """In whatever way the server marks the end."""
    async with running_raw_server(say=said) as server:
        response = await post(server)

    assert (200, "whole") == (response.status, response.text)
    assert ("POST", b"hello") == (server.heard[0].method, server.heard[0].body)


async def test_headers_and_bodies_belong_to_one_request() -> None:
    """The client's headers go with every request, the request's own with it alone."""
    async with (
        running_raw_server(say=reply(body=b"whole", X_Answer="yes")) as server,
        client_of(server.url, headers={"Authorization": "Bearer key"}) as client,
    ):
        first = await client.request("POST", "/say", b"hello", {"X-Own": "1"})
        await client.request("POST", "/say", b"")
        await client.request("GET", "/say?a=b")

    assert "yes" == first.headers["x-answer"]
    assert ["Bearer key"] * 3 == [heard.headers["authorization"] for heard in server.heard]
    assert ["1", None, None] == [heard.headers.get("x-own") for heard in server.heard]
    assert [b"hello", b"", b""] == [heard.body for heard in server.heard]
    assert ["/say", "/say", "/say?a=b"] == [heard.target for heard in server.heard]
    assert 1 == server.connections


async def test_a_large_body_is_sent() -> None:
    """A long conversation can have several megabytes."""
    async with running_raw_server(say=reply()) as server, client_of(server.url) as client:
        await client.request("POST", "/say", b"x" * (3 << 20))

    assert 3 << 20 == len(server.heard[0].body)


@pytest.mark.parametrize(
    "said",
    [
        reply(body=b"x" * 2000),
        sending(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2000),
        reply(body=gzip.compress(b"x" * 2000), Content_Encoding="gzip"),
    ],
    ids=["length", "to the end", "compressed"],
)
async def test_a_response_has_a_largest_size(said: bytes | Say) -> None:
    """Decompressed; the error names the limit."""
    async with running_raw_server(say=said) as server:
        with pytest.raises(ResponseTooLargeError, match="longer than 1999 bytes"):
            await post(server, max_response_bytes=1999)
        assert 2000 == len((await post(server, max_response_bytes=2000)).content)


async def test_an_endless_response_is_not_read_to_its_end() -> None:
    """The connection is closed at the limit, and a response is accepted by the next one."""
    ended = asyncio.Event()

    async def endless(_: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        finally:
            ended.set()

    async with (
        running_raw_server(endless=endless, say=reply(body=b"whole")) as server,
        client_of(server.url, max_response_bytes=1 << 20) as client,
    ):
        with pytest.raises(ResponseTooLargeError):
            await client.request("GET", "/endless")
        await ended.wait()
        assert "whole" == (await client.request("GET", "/say")).text


# Failures.


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (sending(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), "the connection ended before"),
        (
            sending(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf"),
            "the connection ended before",
        ),
        (sending(b""), "the connection ended before the response was complete"),
        (sending(b"HTTP/1.1 200 OK\r\nServer"), "the connection ended before"),
        (sending(b"220 mail ready\r\n", then_s=0.1), "not an HTTP response: Bad status line"),
        (reply(body=b"no gzip at all", Content_Encoding="gzip"), "cannot be decompressed"),
    ],
    ids=["half a body", "half a chunk", "nothing", "half a head", "no HTTP", "no gzip"],
)
async def test_an_incomplete_response_is_an_error(said: bytes | Say, reason: str) -> None:
    """With the reason, in one line."""
    async with running_raw_server(say=said) as server:
        with pytest.raises(HttpError, match=reason) as caught:
            await post(server)

    assert "\n" not in str(caught.value)


async def test_a_silent_server_is_an_error_of_time() -> None:
    """After as long as the client says."""
    async with running_raw_server(say=sending(b"HTTP/1.1 200 OK\r\n", then_s=600)) as server:
        with pytest.raises(HttpTimeoutError, match=r"no data received for 0\.2 s"):
            await post(server, read_timeout_s=0.2)
        async with client_of(server.url) as client:
            with pytest.raises(HttpTimeoutError, match=r"no data received for 0\.1 s"):
                await client.request("GET", "/say", timeout_s=0.1)


async def test_a_slow_response_is_waited_for_as_long_as_something_comes() -> None:
    """The limit is on silence."""

    async def slowly(_: Heard, writer: asyncio.StreamWriter) -> None:
        for byte in reply(body=b"whole"):
            writer.write(bytes([byte]))
            await asyncio.sleep(0.03)

    async with running_raw_server(say=slowly) as server:
        response = await post(server, read_timeout_s=1.5)

    assert "whole" == response.text


async def test_a_refused_connection_is_an_error() -> None:
    """In the system's words."""
    with pytest.raises(HttpError, match=r"^Connection refused$"):
        await post(RawServer(port=9))


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1", "http://"])
async def test_a_url_that_is_not_of_the_web_is_an_error(url: str) -> None:
    """Before anything is connected to."""
    with pytest.raises(HttpError, match="does not begin with http"):
        await client_of(url).request("GET")


def test_a_url_that_cannot_be_read_is_refused() -> None:
    """With what is wrong with it."""
    with pytest.raises(UsageError, match=r"'http://127\.0\.0\.1:bad' is not a valid URL: Invalid port"):
        client_of("http://127.0.0.1:bad")


async def test_a_header_is_one_line() -> None:
    """A key with a line break cannot smuggle another header in."""
    async with running_raw_server(say=reply()) as server, client_of(server.url) as client:
        with pytest.raises(HttpError, match="header injection"):
            await client.request("POST", "/say", headers={"X-Own": "1\r\nX-Other: 2"})

    assert [] == server.heard


# Connections.


async def test_there_are_as_many_connections_as_requests_at_once(llm: LLMServer) -> None:
    """More than a hundred, and the same again for the next requests."""
    llm.behaviour.held = True
    async with client_of(llm.url) as client:
        for number in (1, 2):
            asked = [asyncio.create_task(complete(client)) for _ in range(120)]
            await eventually(lambda number=number: llm.count == number * 120)
            llm.behaviour.held = False
            assert {200} == {response.status for response in await asyncio.gather(*asked)}
            llm.behaviour.held = True

    assert (240, 120) == (llm.count, len(ports(llm)))


async def test_a_connection_that_failed_is_not_used_again(llm: LLMServer) -> None:
    """The next request opens another."""
    llm.answer(drop(), text("fine"))
    async with client_of(llm.url) as client:
        with pytest.raises(HttpError):
            await complete(client)
        response = await complete(client)

    assert (200, 2) == (response.status, len(ports(llm)))


async def test_a_cancelled_request_leaves_no_half_response_behind(llm: LLMServer) -> None:
    """Its connection is closed with it."""
    llm.behaviour.latency_s = 0.2
    async with client_of(llm.url) as client:
        asked = asyncio.create_task(complete(client))
        await eventually(lambda: llm.count == 1)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        llm.behaviour.latency_s = 0
        response = await complete(client)

    assert (200, 2) == (response.status, len(ports(llm)))


@pytest.mark.parametrize("said", [reply(body=b"1", Connection="close"), sending(reply(body=b"1"))])
async def test_a_connection_that_the_server_closes_is_not_used_again(said: bytes | Say) -> None:
    """Whether it says so or just does it."""
    async with running_raw_server(say=said) as server, client_of(server.url) as client:
        for number in (1, 2):
            await client.request("GET", "/say")
            await asyncio.sleep(0.1)
            assert number == server.connections


async def test_an_unexpected_second_response_is_not_taken_for_the_next() -> None:
    """The connection is closed."""
    said = reply(body=b"1") + reply(body=b"2")
    async with running_raw_server(say=said) as server, client_of(server.url) as client:
        assert ["1", "1"] == [(await client.request("POST", "/say")).text for _ in range(2)]


async def test_cookies_are_not_kept() -> None:
    """Requests of different trials know nothing of each other."""
    async with (
        running_raw_server(say=reply(Set_Cookie="who=me")) as server,
        client_of(server.url) as client,
    ):
        await client.request("GET", "/say")
        await client.request("GET", "/say")

    assert all("cookie" not in heard.headers for heard in server.heard)


def test_a_client_works_in_one_event_loop_after_another(llm: LLMServer) -> None:
    """Connections end with their loop."""
    client = client_of(llm.url)

    async def ask() -> int:
        try:
            return (await complete(client)).status
        finally:
            await client.close()

    assert [200, 200] == [asyncio.run(ask()) for _ in range(2)]


def test_a_client_that_was_left_open_works_in_the_next_event_loop(llm: LLMServer) -> None:
    """It opens new connections there. In a process of its own, as Python warns of the old ones."""
    program = f"""
import asyncio
from stb_core.http import HttpClient
client = HttpClient({llm.url!r}, connect_timeout_s=60, read_timeout_s=60)
print([asyncio.run(client.request("GET", "/models")).status for _ in range(2)])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "[200, 200]" == done.stdout.strip()


def test_it_works_in_the_event_loop_of_servers_too() -> None:
    """Simulators ask their models from within uvloop."""

    async def ask() -> str:
        async with running_raw_server(say=CHUNKED) as server:
            return (await post(server)).text

    assert "whole" == uvloop.run(ask())


# Redirects, proxies, certificates.


async def test_a_redirect_is_followed_only_on_demand() -> None:
    """With the body, and without the key where it leads to another host."""
    async with running_raw_server(say=reply(body=b"there")) as other:
        away = reply("307 Temporary Redirect", Location=f"{other.url}/say")
        async with running_raw_server(say=away) as server:
            key = {"Authorization": "Bearer key", "X-Own": "1"}
            assert 307 == (await post(server, headers=key)).status
            assert [] == other.heard
            assert "there" == (await post(server, headers=key, follow_redirects=True)).text

    assert b"hello" == other.heard[0].body
    assert "authorization" not in other.heard[0].headers
    assert "1" == other.heard[0].headers["x-own"]


async def test_a_redirect_in_a_circle_ends() -> None:
    """With an error."""
    async with running_raw_server(say=reply("307 Temporary Redirect", Location="/say")) as server:
        with pytest.raises(HttpError, match="too many redirects"):
            await post(server, follow_redirects=True)


async def test_a_user_and_password_in_the_url_are_sent() -> None:
    """In place of another key."""
    async with running_raw_server(say=reply(body=b"whole")) as server:
        url = server.url.replace("//", "//me:sec%20ret@")
        async with client_of(url, headers={"Authorization": "Bearer key"}) as client:
            await client.request("POST", "/say")

    assert "Basic bWU6c2VjIHJldA==" == server.heard[0].headers["authorization"]


@pytest.fixture
def proxy(llm: LLMServer, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The test server as the proxy of the environment: it gets requests for other hosts."""
    for name in ("NO_PROXY", "no_proxy", "http_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", llm.url.removesuffix("/v1").replace("//", "//me:secret@"))
    return monkeypatch


async def test_the_proxy_of_the_environment_is_used(llm: LLMServer, proxy: pytest.MonkeyPatch) -> None:
    """With the password in its URL."""
    async with client_of("http://models.invalid/v1") as client:
        await complete(client)

    assert "models.invalid" == llm.headers[0]["host"]
    assert "Basic bWU6c2VjcmV0" == llm.headers[0]["proxy-authorization"]


async def test_hosts_may_be_excepted_from_the_proxy(llm: LLMServer, proxy: pytest.MonkeyPatch) -> None:
    """By NO_PROXY."""
    proxy.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    proxy.setenv("NO_PROXY", "127.0.0.1")
    async with client_of(llm.url) as client:
        assert 200 == (await complete(client)).status


async def test_a_proxy_of_another_kind_is_refused(proxy: pytest.MonkeyPatch) -> None:
    """With what to do."""
    proxy.setenv("HTTP_PROXY", "socks5://me:secret@127.0.0.1:9")
    with pytest.raises(UsageError, match=r"the kind socks5 is not supported.*NO_PROXY") as caught:
        await client_of("http://models.invalid").request("GET")

    assert "secret" not in str(caught.value)


async def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One from an unknown authority is refused, one from an authority in SSL_CERT_FILE is accepted."""
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with running_raw_server(tls, say=reply(body=b"whole")) as server:
        url = server.url.replace("http:", "https:")
        async with client_of(url) as client:
            with pytest.raises(HttpError, match="certificate verify failed"):
                await client.request("POST", "/say")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        async with client_of(url) as client:
            assert "whole" == (await client.request("POST", "/say")).text
