"""Fetches from untrusted hosts, within limits of time, size and redirections."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import httpx
import yarl

from stb_core.errors import UsageError
from stb_server.upstream.bodies import read_body
from stb_server.upstream.host_state import HostGate, HostLimits
from stb_server.upstream.network_guard import (
    AddressRules,
    ForbiddenAddressError,
    Network,
    Resolver,
    open_guarded_connector,
    resolve,
)
from stb_server.upstream.values import UpstreamError, UpstreamReply, UpstreamRequest

# RFC 9110, 5.1 and 5.5; aiohttp itself looks for line breaks only.
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?|")
_LONGEST_HEADER = 65_536


@dataclass(frozen=True)
class FetchLimits:
    """Limits of one call."""

    connect_s: float = 5.0
    """Longest wait for a connection, name resolution and TLS included."""
    read_s: float = 15.0
    """Longest time without data from the server."""
    total_s: float = 30.0
    """Longest a call may take with all waits, repetitions and redirections."""
    max_body_bytes: int = 1_000_000
    """Largest body, before and after unpacking."""
    max_redirects: int = 3
    """Redirections that are followed."""
    max_attempts: int = 3
    """Most attempts, if the server asks to retry later (429 or 503 with Retry-After)."""
    allowed_networks: tuple[Network, ...] = ()
    """Private networks that may be connected to."""
    ca_file: Path | None = None
    """Certificates (PEM) to trust besides the usual ones, such as those of an institution."""


class Fetcher:
    """Sends requests; one for a process, opened and closed with it."""

    def __init__(
        self,
        limits: FetchLimits,
        hosts: Mapping[str, HostLimits] | None = None,
        default_host: HostLimits | None = None,
        *,
        resolver: Resolver = resolve,
    ) -> None:
        """Make a fetcher.

        Args:
            limits: the limits of one call.
            hosts: limits by ``host`` or ``host:port``.
            default_host: limits of all other hosts.
            resolver: resolves host names to addresses.
        """
        self._limits = limits
        self._host_limits = dict(hosts or {})
        self._default_host = default_host or HostLimits()
        self._gates: dict[str, HostGate] = {}
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the connection pool; it uses no proxy, cookie or setting of the environment.

        Raises:
            UsageError: the file of certificates cannot be used.
        """
        limits = self._limits
        rules, tls = AddressRules(limits.allowed_networks), _trust(limits.ca_file)
        self._session = aiohttp.ClientSession(
            connector=open_guarded_connector(rules, tls, resolver=self._resolver),
            timeout=aiohttp.ClientTimeout(total=None, connect=limits.connect_s, sock_read=limits.read_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # read_body does it, within the limit
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
            skip_auto_headers=("Content-Type",),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        if self._session:
            await self._session.close()
            self._session = None

    def gate(self, url: str) -> HostGate:
        """The gate of a URL's host."""
        parsed = httpx.URL(url)
        name = parsed.netloc.decode("ascii")
        if name not in self._gates:
            limits = self._host_limits.get(name) or self._host_limits.get(parsed.host) or self._default_host
            self._gates[name] = HostGate(limits, asyncio.get_running_loop().time)
        return self._gates[name]

    async def fetch(self, request: UpstreamRequest) -> UpstreamReply:
        """The reply to a request, whatever its status.

        Raises:
            UpstreamError: no reply came within the limits; the kind says why.
        """
        deadline = asyncio.get_running_loop().time() + self._limits.total_s
        gate = self.gate(request.url)
        for attempt in range(1, self._limits.max_attempts + 1):
            try:
                reply = await self._one_attempt(gate, request, deadline)
            except _ServerError as problem:
                reply = problem.reply
            if reply.status not in {429, 503}:
                return reply
            wait = retry_after_s(reply.retry_after, datetime.now(UTC))
            if wait is None:
                return reply
            gate.pause(wait)
            left = deadline - asyncio.get_running_loop().time()
            if attempt == self._limits.max_attempts or wait >= left:
                return reply  # otherwise the gate waits
        raise AssertionError  # the last attempt returns

    async def _one_attempt(self, gate: HostGate, request: UpstreamRequest, deadline: float) -> UpstreamReply:
        async with gate.admitted(deadline):
            try:
                async with asyncio.timeout_at(deadline):
                    reply = await self._follow(request)
            except TimeoutError:
                raise UpstreamError("timeout", f"No answer within {self._limits.total_s:g} s.") from None
            if reply.status >= 500:
                raise _ServerError(reply)
            return reply

    async def _follow(self, request: UpstreamRequest) -> UpstreamReply:
        for _ in range(self._limits.max_redirects + 1):
            reply = await self._send(request)
            if isinstance(reply, UpstreamReply):
                return reply
            request = reply
        raise UpstreamError("redirects", f"More than {self._limits.max_redirects} redirections.")

    async def _send(self, request: UpstreamRequest) -> UpstreamReply | UpstreamRequest:
        """Send one request; returns the reply, or the request that a redirection asks for."""
        assert self._session, "the fetcher is not open"
        limits = self._limits
        headers = {"Accept": "application/json, */*;q=0.5", "Accept-Encoding": "gzip, deflate"}
        headers |= {"User-Agent": "stabletoolbench", "Host": httpx.URL(request.url).netloc.decode("ascii")}
        headers |= dict(request.headers)
        target = _target(request.url)
        if not all(map(_is_header, headers, headers.values())):
            raise UpstreamError("unsuited", "The call cannot be written as an HTTP request.")
        try:
            async with self._session.request(
                request.method, target, headers=headers, data=request.content, allow_redirects=False
            ) as response:
                if response.status in {301, 302, 303, 307, 308} and "location" in response.headers:
                    return redirected(request, response.status, response.headers["location"])
                if _length(response.headers) > limits.max_body_bytes:
                    raise UpstreamError(
                        "too_large", f"The body is larger than {limits.max_body_bytes} bytes."
                    )
                coding = response.headers.get("content-encoding", "")
                body = await read_body(response.content.iter_any(), coding, limits.max_body_bytes)
                return UpstreamReply(
                    response.status,
                    response.headers.get("content-type", ""),
                    body,
                    response.headers.get("retry-after", ""),
                )
        except aiohttp.ConnectionTimeoutError:
            raise UpstreamError("timeout", f"No connection within {limits.connect_s:g} s.") from None
        except aiohttp.SocketTimeoutError:
            raise UpstreamError("timeout", f"No data for {limits.read_s:g} s.") from None
        except aiohttp.InvalidURL:
            raise UpstreamError("unsuited", "The call cannot be written as an HTTP request.") from None
        except aiohttp.ClientConnectorError as problem:
            if isinstance(problem.__cause__, ForbiddenAddressError):
                raise UpstreamError(
                    "forbidden_address", "The host's address is private; allow its network to use it."
                ) from None
            raise UpstreamError("unreachable", "The host cannot be connected to.") from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise UpstreamError("malformed", "The connection broke, or the reply is not HTTP.") from None


def _is_header(name: str, value: str) -> bool:
    """Whether a header can be sent."""
    return bool(_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value))


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    context = httpx.create_ssl_context(trust_env=False)
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except OSError:
            raise UsageError(
                f"The certificates in {ca_file} cannot be read.", hint="ca_file takes a file in PEM form."
            ) from None
    return context


class _ServerError(UpstreamError):
    """A reply with status 5xx, raised within the gate so that it counts against the host."""

    def __init__(self, reply: UpstreamReply) -> None:
        super().__init__("server_error", f"Status {reply.status}.")
        self.reply = reply


def _target(url: str) -> yarl.URL:
    """The address to request, without user and fragment; path and query as they are, byte for byte."""
    parsed = httpx.URL(url)
    origin = f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"
    return yarl.URL(origin + parsed.raw_path.decode("ascii"), encoded=True)


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def redirected(request: UpstreamRequest, status: int, location: str) -> UpstreamRequest:
    """The request that a redirection asks for (RFC 9110, 15.4).

    Another origin gets none of the request's headers. A redirection that would send content to another origin
    is refused, because content may hold a key.

    Raises:
        UpstreamError: the redirection may not be followed.
    """
    old = httpx.URL(request.url)
    try:
        new = old.join(location).copy_with(fragment=None)
    except (httpx.InvalidURL, ValueError):
        raise UpstreamError("redirects", "The redirection has no valid target.") from None
    if new.scheme not in {"http", "https"} or not new.host or new.userinfo:
        raise UpstreamError("redirects", "The redirection does not lead to a web address.")
    as_get = status == 303 or (status in {301, 302} and request.method == "POST")
    method = "GET" if as_get and request.method != "HEAD" else request.method
    content = None if as_get else request.content
    if _same_origin(old, new):
        return replace(request, method=method, url=str(new), content=content)
    if content:
        raise UpstreamError("redirects", "The redirection would carry the call to another origin.")
    return UpstreamRequest(method, str(new))


def _same_origin(old: httpx.URL, new: httpx.URL) -> bool:
    if old.host != new.host:
        return False
    default = {"http": 80, "https": 443}
    ports = [url.port or default[url.scheme] for url in (old, new)]
    if old.scheme == new.scheme:
        return ports[0] == ports[1]
    return (old.scheme, new.scheme, ports) == ("http", "https", [80, 443])


def retry_after_s(value: str, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3); None if it asks for nothing."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value) if len(value) < 10 else None
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
