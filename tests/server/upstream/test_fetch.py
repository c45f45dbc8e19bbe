"""Whatever a server does, a fetch ends within its limits: with a reply, or with an error by type."""

from __future__ import annotations

import asyncio
import gzip
import logging
import ssl
import struct
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from raw_server import Heard, RawServer, Say, reply, running_raw_server
from stb_core.errors import UsageError
from stb_server.upstream.fetch import Fetcher, FetchLimits, redirected, retry_after_s
from stb_server.upstream.host_state import HostLimits
from stb_server.upstream.network_guard import Resolver, resolve
from stb_server.upstream.values import UpstreamError, UpstreamReply, UpstreamRequest

LIMITS: dict[str, Any] = {
    "connect_s": 60,
    "read_s": 60,
    "total_s": 60,
    "max_body_bytes": 100_000,
    "allowed_networks": (ip_network("127.0.0.1/32"),),
}


@asynccontextmanager
async def fetching(
    resolver: Resolver = resolve, host: HostLimits | None = None, **limits: Any
) -> AsyncGenerator[Fetcher]:
    async with Fetcher(FetchLimits(**LIMITS | limits), default_host=host, resolver=resolver) as fetcher:
        yield fetcher


async def fetched(server: RawServer, path: str, **limits: Any) -> UpstreamReply:
    async with fetching(**limits) as fetcher:
        return await fetcher.fetch(UpstreamRequest("GET", f"{server.url}/{path}"))


async def kind_of_failure(say: bytes | Say, **limits: Any) -> str:
    async with running_raw_server(x=say) as server:
        with pytest.raises(UpstreamError) as caught:
            await asyncio.wait_for(fetched(server, "x", **limits), 60)
        return caught.value.kind


async def test_a_reply_comes_back_whole() -> None:
    """Status, type and unpacked body; and the server sees a plain request."""
    packed = gzip.compress(b'{"a": 1}')
    async with running_raw_server(x=reply("201 Created", packed, Content_Encoding="gzip")) as server:
        found = await fetched(server, "x?q=%C3%A9&r=a%2Fb")

    assert UpstreamReply(201, "application/json", b'{"a": 1}') == found
    (heard,) = server.heard
    assert ("GET", "/x?q=%C3%A9&r=a%2Fb", b"") == (heard.method, heard.target, heard.body)
    assert {"accept", "accept-encoding", "user-agent", "host"} == set(heard.headers)
    assert f"127.0.0.1:{server.port}" == heard.headers["host"]


async def test_what_cannot_be_sent_is_not_the_hosts_failure() -> None:
    """A header that HTTP does not allow."""
    async with running_raw_server() as server, fetching() as fetcher:
        with pytest.raises(UpstreamError) as caught:
            await fetcher.fetch(UpstreamRequest("GET", server.url, (("X-A", "a\nb"),)))

    assert ("unsuited", False) == (caught.value.kind, caught.value.is_hosts_failure)


async def endless(heard: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"400\r\n" + b"a" * 1024 + b"\r\n")
        await writer.drain()


async def trickle(heard: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.1)


async def silence(heard: Heard, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(600)


async def reset(heard: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
    await writer.drain()
    # An RST in place of a FIN.
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(1, 13, linger)
    writer.close()


async def endless_headers(heard: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-A: " + b"a" * 1000 + b"\r\n")
        await writer.drain()


async def endless_continue(heard: Heard, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


BOMB = gzip.compress(bytes(20_000_000))


@pytest.mark.parametrize(
    ("say", "kind"),
    [
        pytest.param(endless, "too_large", id="endless stream"),
        pytest.param(trickle, "timeout", id="a byte at a time"),
        pytest.param(silence, "timeout", id="silence"),
        pytest.param(endless_headers, "malformed", id="endless headers"),
        pytest.param(endless_continue, "timeout", id="endless early hints"),
        pytest.param(reset, "malformed", id="reset within the body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "timeout", id="short body"),
        pytest.param(reply(body=b"a" * 100_001), "too_large", id="large body"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n", "too_large", id="said to be large"
        ),
        pytest.param(reply(body=BOMB, Content_Encoding="gzip"), "too_large", id="gzip bomb"),
        pytest.param(reply(body=b"plain", Content_Encoding="gzip"), "malformed", id="not gzip"),
        pytest.param(reply(body=b"plain", Content_Encoding="br"), "malformed", id="coding not asked for"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
            "malformed",
            id="broken chunks",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nbroken header\r\n\r\n", "malformed", id="broken header"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", "malformed", id="another protocol"),
        pytest.param(b"\x16\x03\x01\x00\xa5\x01\x00", "malformed", id="TLS on a plain port"),
        pytest.param(reply("302 Found", Location="/x"), "redirects", id="redirect loop"),
        pytest.param(reply("302 Found", Location="file:///etc/passwd"), "redirects", id="redirect to a file"),
        pytest.param(reply("302 Found", Location="http://"), "redirects", id="redirect to nowhere"),
        pytest.param(reply("302 Found", Location="http://[::1"), "redirects", id="redirect to a broken URL"),
        pytest.param(
            reply("302 Found", Location="http://u:p@127.0.0.1/"), "redirects", id="redirect with a user"
        ),
        pytest.param(
            reply("302 Found", Location="http://169.254.169.254/latest/"),
            "forbidden_address",
            id="metadata service",
        ),
        pytest.param(
            reply("302 Found", Location="http://localhost.:1/"), "unreachable", id="redirect to no one"
        ),
        pytest.param(
            reply("302 Found", Location="http://10.0.0.1/"), "forbidden_address", id="redirect inwards"
        ),
    ],
)
async def test_a_hostile_server_ends_in_an_error_by_type(say: bytes | Say, kind: str) -> None:
    """In bounded time and memory, and never in another exception."""
    assert kind == await kind_of_failure(
        say, **({"read_s": 0.3, "total_s": 0.8} if kind == "timeout" else {})
    )


async def test_a_connection_that_closes_early_is_malformed() -> None:
    """With less than the promised body, or with no answer at all."""

    async def close(heard: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")

    async def nothing(heard: Heard, writer: asyncio.StreamWriter) -> None:
        pass

    assert ["malformed", "malformed"] == [await kind_of_failure(close), await kind_of_failure(nothing)]


async def test_no_one_there_is_unreachable() -> None:
    """A closed port, or a name without an address."""
    async with fetching() as fetcher:
        for url in ("http://127.0.0.1:1/", "http://no-such-host.invalid/"):
            with pytest.raises(UpstreamError) as caught:
                await fetcher.fetch(UpstreamRequest("GET", url))
            assert "unreachable" == caught.value.kind


async def test_a_plain_server_on_a_tls_port_is_unreachable() -> None:
    """The handshake fails."""
    async with running_raw_server() as server, fetching(total_s=0.3) as fetcher:
        with pytest.raises(UpstreamError) as caught:
            await fetcher.fetch(UpstreamRequest("GET", f"https://127.0.0.1:{server.port}/"))

        assert caught.value.kind in {"unreachable", "timeout"}


async def test_a_server_whose_certificate_is_trusted_is_heard(tmp_path: Path) -> None:
    """Over TLS, and only with the authority's certificate and for the name that it is made out to."""
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    authority.cert_pem.write_to_path(ca_file := tmp_path / "ca.pem")
    found: list[str] = []
    async with running_raw_server(tls, x=reply(body=b"safe")) as server:
        for host, trusted in (("localhost", ca_file), ("127.0.0.1", ca_file), ("localhost", None)):
            async with fetching(ca_file=trusted) as fetcher:
                try:
                    request = UpstreamRequest("GET", f"https://{host}:{server.port}/x")
                    found.append((await fetcher.fetch(request)).body.decode())
                except UpstreamError as problem:
                    found.append(problem.kind)

    assert ["safe", "unreachable", "unreachable"] == found


async def test_certificates_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    """A file that is not there, or not in PEM form."""
    (tmp_path / "x.pem").write_text("no certificate")
    for name in ("x.pem", "y.pem"):
        with pytest.raises(UsageError, match=rf"The certificates in .*{name} cannot be read"):
            async with fetching(ca_file=tmp_path / name):
                pass


async def test_a_private_address_is_not_connected_to() -> None:
    """Unless its network is allowed."""
    async with running_raw_server(x=reply()) as server, fetching(allowed_networks=()) as fetcher:
        with pytest.raises(UpstreamError) as caught:
            await fetcher.fetch(UpstreamRequest("GET", f"{server.url}/x"))

        assert ("forbidden_address", 0) == (caught.value.kind, server.connections)


async def test_a_name_that_turns_inwards_is_caught_at_the_next_connection() -> None:
    """DNS rebinding: the first answer was fine."""
    answers = [["127.0.0.1"], ["192.168.0.1"]]

    async def resolver(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    closing = reply(body=b"{}", Connection="close")
    async with running_raw_server(x=closing) as server, fetching(resolver) as fetcher:
        request = UpstreamRequest("GET", f"http://rebinding.example:{server.port}/x")
        await fetcher.fetch(request)

        with pytest.raises(UpstreamError) as caught:
            await fetcher.fetch(request)

        assert "forbidden_address" == caught.value.kind


async def test_redirections_are_followed_within_their_number() -> None:
    """Each hop is a request of its own."""
    paths = {"a": "/b", "b": "/c", "c": "/d"}
    says = {name: reply("307 Temporary Redirect", Location=to) for name, to in paths.items()}
    async with running_raw_server(d=reply(body=b"{}"), **says) as server:
        found = await fetched(server, "a")
        with pytest.raises(UpstreamError):
            await fetched(server, "a", max_redirects=2)

    assert 200 == found.status


async def test_keys_do_not_follow_a_redirection_to_another_origin() -> None:
    """Neither in headers nor in content."""
    async with running_raw_server(there=reply(body=b"{}")) as other:
        away = reply("302 Found", Location=f"{other.url}/there")
        async with running_raw_server(x=away) as server, fetching() as fetcher:
            headers = (("X-Key", "secret"),)
            await fetcher.fetch(UpstreamRequest("GET", f"{server.url}/x", headers))

            assert "secret" == server.heard[0].headers["x-key"]
            assert "x-key" not in other.heard[0].headers


@pytest.mark.parametrize(
    ("status", "method", "location", "expected"),
    [
        (302, "GET", "/new", ("GET", "https://a.example/new", True, False)),
        (301, "POST", "/new", ("GET", "https://a.example/new", True, False)),
        (303, "PUT", "?q=1", ("GET", "https://a.example/old?q=1", True, False)),
        (307, "POST", "/new#part", ("POST", "https://a.example/new", True, True)),
        (308, "POST", "https://A.example:443/new", ("POST", "https://a.example/new", True, True)),
        (302, "GET", "https://b.example/", ("GET", "https://b.example/", False, False)),
        (302, "GET", "http://a.example/", ("GET", "http://a.example/", False, False)),
        (302, "GET", "https://a.example:8443/", ("GET", "https://a.example:8443/", False, False)),
        (303, "POST", "https://b.example/", ("GET", "https://b.example/", False, False)),
        (307, "POST", "https://b.example/", None),
        (308, "PUT", "http://a.example/", None),
        (302, "GET", "javascript:alert(1)", None),
        (302, "GET", "https://user@a.example/", None),
    ],
)
def test_what_a_redirection_asks_for(
    status: int, method: str, location: str, expected: tuple[str, str, bool, bool] | None
) -> None:
    """Method and content follow RFC 9110; another origin gets no header and no content."""
    content = None if method == "GET" else b"content"
    request = UpstreamRequest(method, "https://a.example/old", (("X-Key", "secret"),), content)

    if expected is None:
        with pytest.raises(UpstreamError, match="redirection"):
            redirected(request, status, location)
        return
    new = redirected(request, status, location)

    assert expected == (new.method, new.url, bool(new.headers), bool(new.content))


def test_http_may_become_https_on_the_same_host() -> None:
    """The upgrade keeps headers, the way back does not."""
    request = UpstreamRequest("POST", "http://a.example/x", (("X-Key", "secret"),), b"content")

    new = redirected(request, 308, "https://a.example/x")

    assert (request.headers, b"content") == (new.headers, new.content)


@given(st.text(), st.sampled_from([301, 302, 303, 307, 308]))
def test_any_location_is_followed_or_refused(location: str, status: int) -> None:
    """It never leads to anything but http and https."""
    try:
        new = redirected(UpstreamRequest("GET", "https://a.example/old"), status, location)
    except UpstreamError:
        return
    assert new.url.startswith(("https://", "http://"))


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        (" 120 ", 120),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60),
        ("Thu, 01 Jan 2026 00:01:00", 60),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("9" * 400, None),
        ("\u0663", None),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str, seconds: float | None) -> None:
    """Seconds, or a date; anything else asks for nothing."""
    assert seconds == retry_after_s(value, NOW)


@given(st.text())
def test_any_retry_after_is_read(value: str) -> None:
    """It is a header from outside."""
    found = retry_after_s(value, NOW)

    assert found is None or found >= 0


def refusing(times: int, status: str = "429 Too Many Requests", **headers: str) -> Say:
    left = [times]

    async def say(heard: Heard, writer: asyncio.StreamWriter) -> None:
        left[0] -= 1
        writer.write(reply(status, **headers) if left[0] >= 0 else reply(body=b"{}"))

    return say


async def test_a_server_that_asks_for_patience_is_asked_again() -> None:
    """After the time that it gives, within the time of the call."""
    async with running_raw_server(x=refusing(1, Retry_After="1")) as server:
        before = asyncio.get_running_loop().time()
        found = await fetched(server, "x")
        took = asyncio.get_running_loop().time() - before

    assert (200, 2) == (found.status, len(server.heard))
    assert took >= 1


@pytest.mark.parametrize(
    ("times", "headers", "requests"),
    [(9, {"Retry_After": "0"}, 3), (9, {"Retry_After": "600"}, 1), (9, {}, 1), (9, {"Retry_After": "x"}, 1)],
)
async def test_patience_has_its_limits(times: int, headers: dict[str, str], requests: int) -> None:
    """Too many attempts, too long a wait, or no time given: the refusal is the reply."""
    async with running_raw_server(x=refusing(times, **headers)) as server:
        found = await fetched(server, "x")

    assert (429, requests) == (found.status, len(server.heard))


async def test_other_calls_keep_the_pause_too() -> None:
    """A host that asked for ten minutes is not asked by the next call."""
    say = refusing(1, "503 Unavailable", Retry_After="600")
    async with running_raw_server(x=say) as server, fetching() as fetcher:
        await fetcher.fetch(UpstreamRequest("GET", f"{server.url}/x"))
        with pytest.raises(UpstreamError) as caught:
            await fetcher.fetch(UpstreamRequest("GET", f"{server.url}/x"))

    assert ("busy", 1) == (caught.value.kind, len(server.heard))


async def test_a_broken_host_is_left_alone() -> None:
    """After some failures in a row no call reaches it, until one may try."""
    host = HostLimits(breaker_failures=3, breaker_reset_s=3600)
    says = {"x": reply("500 Internal Server Error"), "good": reply(body=b"{}")}
    async with running_raw_server(**says) as server, fetching(host=host) as fetcher:
        for _ in range(3):
            await fetcher.fetch(UpstreamRequest("GET", f"{server.url}/x"))
        with pytest.raises(UpstreamError) as caught:
            await fetcher.fetch(UpstreamRequest("GET", f"{server.url}/x"))
        asked = len(server.heard)
        gate = fetcher.gate(server.url)
        gate.breaker = replace(gate.breaker, open_until=0.0)  # as an hour later
        found = await fetcher.fetch(UpstreamRequest("GET", f"{server.url}/good"))

    assert ("circuit_open", 3, 200) == (caught.value.kind, asked, found.status)


async def test_timeouts_count_against_the_host() -> None:
    """As much as a refused connection does."""
    limits = {"host": HostLimits(breaker_failures=1), "read_s": 9, "total_s": 0.1}
    kinds = []
    async with running_raw_server(x=silence) as server, fetching(**limits) as fetcher:
        for _ in range(2):
            with pytest.raises(UpstreamError) as caught:
                await fetcher.fetch(UpstreamRequest("GET", f"{server.url}/x"))
            kinds.append(caught.value.kind)

    assert ["timeout", "circuit_open"] == kinds


async def test_a_fetch_that_is_cancelled_gives_its_place_back() -> None:
    """The next call is let through at once."""
    arrived = asyncio.Event()

    async def wait(heard: Heard, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await silence(heard, writer)

    limits = {"host": HostLimits(concurrency=1), "read_s": 60, "total_s": 60}
    async with running_raw_server(x=wait, good=reply(body=b"{}")) as server, fetching(**limits) as fetcher:
        task = asyncio.create_task(fetcher.fetch(UpstreamRequest("GET", f"{server.url}/x")))
        await arrived.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

        found = await asyncio.wait_for(fetcher.fetch(UpstreamRequest("GET", f"{server.url}/good")), 60)

    assert 200 == found.status


async def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy named there would make the connections, and with them the checks."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with running_raw_server(x=reply(body=b"{}")) as server:
        found = await fetched(server, "x")

    assert 200 == found.status


async def test_nothing_that_was_sent_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Not even with the most talkative logs."""
    caplog.set_level(logging.DEBUG)
    async with (
        running_raw_server(x=reply(body=b"{}", X_Echo="secret-key-1")) as server,
        fetching() as fetcher,
    ):
        request = UpstreamRequest("POST", f"{server.url}/x", (("X-Key", "secret-key-1"),), b"secret-key-1")
        await fetcher.fetch(request)

    assert "secret-key-1" not in caplog.text
    assert "secret-key-1" not in repr(request)
