"""Fetches from untrusted hosts, within limits of time, size and redirections."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import httpcore
import httpx

from stb_core.errors import UsageError
from stb_server.upstream.bodies import read_body
from stb_server.upstream.host_state import HostGate, HostLimits
from stb_server.upstream.network_guard import (
    AddressRules,
    ForbiddenAddressError,
    GuardedBackend,
    Network,
    Resolver,
    resolve,
)
from stb_server.upstream.values import UpstreamError, UpstreamReply, UpstreamRequest

_log = logging.getLogger(__name__)


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
        self._backend = GuardedBackend(AddressRules(limits.allowed_networks), resolver)
        self._pool: httpcore.AsyncConnectionPool | None = None

    async def __aenter__(self) -> Self:
        """Open the connection pool; it uses no proxy, cookie or setting of the environment.

        Raises:
            UsageError: the file of certificates cannot be used.
        """
        # The library's debugging log shows headers.
        logging.getLogger("httpcore").setLevel(logging.INFO)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=_trust(self._limits.ca_file),
            max_connections=None,
            max_keepalive_connections=20,
            keepalive_expiry=15.0,
            network_backend=self._backend,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        if self._pool:
            await self._pool.aclose()
            self._pool = None

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
        assert self._pool, "the fetcher is not open"
        limits = self._limits
        times = {
            "connect": limits.connect_s,
            "read": limits.read_s,
            "write": limits.read_s,
            "pool": limits.total_s,
        }
        headers = {"Accept": "application/json, */*;q=0.5", "Accept-Encoding": "gzip, deflate"}
        headers |= {"User-Agent": "stabletoolbench", "Host": httpx.URL(request.url).netloc.decode("ascii")}
        headers |= dict(request.headers)
        try:
            async with self._pool.stream(
                request.method,
                _target(request.url),
                headers=[(name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()],
                content=request.content,
                extensions={"timeout": times},
            ) as response:
                reply_headers = httpx.Headers(response.headers)
                if response.status in {301, 302, 303, 307, 308} and "location" in reply_headers:
                    return redirected(request, response.status, reply_headers["location"])
                if _length(reply_headers) > limits.max_body_bytes:
                    raise UpstreamError(
                        "too_large", f"The body is larger than {limits.max_body_bytes} bytes."
                    )
                coding = reply_headers.get("content-encoding", "")
                body = await read_body(response.aiter_stream(), coding, limits.max_body_bytes)
                return UpstreamReply(
                    response.status,
                    reply_headers.get("content-type", ""),
                    body,
                    reply_headers.get("retry-after", ""),
                )
        except ForbiddenAddressError:
            raise UpstreamError(
                "forbidden_address", "The host's address is private; allow its network to use it."
            ) from None
        except (httpcore.ConnectTimeout, httpcore.PoolTimeout):
            raise UpstreamError("timeout", f"No connection within {limits.connect_s:g} s.") from None
        except httpcore.TimeoutException:
            raise UpstreamError("timeout", f"No data for {limits.read_s:g} s.") from None
        except (httpcore.ConnectError, ssl.SSLError):
            raise UpstreamError("unreachable", "The host cannot be connected to.") from None
        except httpcore.LocalProtocolError:
            raise UpstreamError("unsuited", "The call cannot be written as an HTTP request.") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError):
            raise UpstreamError("malformed", "The connection broke, or the reply is not HTTP.") from None


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


def _target(url: str) -> httpcore.URL:
    parsed = httpx.URL(url)
    return httpcore.URL(
        scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path
    )


def _length(headers: httpx.Headers) -> int:
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
