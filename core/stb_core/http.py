"""The HTTP client for everything that is sent many thousand times: model requests, tool calls, agent turns.

A thin layer over aiohttp, which costs the same per request however many are in flight. What it adds: a
response is read whole and its size is limited, failures have three kinds, and proxies and certificates
are those of the environment, as for httpx2 in the rest of the program.
"""

from __future__ import annotations

import asyncio
import base64
import io
import os
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import aiohttp
import httpx2
from aiohttp.http_exceptions import ContentEncodingError

from stb_core.errors import UsageError

MAX_RESPONSE_BYTES = 32 << 20
"""The longest body that is read, after decompression; an endpoint that sends more is broken or hostile."""
_KEEP_ALIVE_S = 4.0
"""How long an unused connection is kept. Common servers close theirs after 5 s, some while a request is on its way."""
_LARGE_BODY_BYTES = 1 << 20
"""From this size on aiohttp wants a request's body as a file, so that it can send it in pieces."""


class HttpError(Exception):
    """A request got no usable response; the text says why. Callers turn it into an error of ours."""


class HttpTimeoutError(HttpError):
    """Connecting took too long, or nothing arrived for too long; ``was_sent`` tells which."""

    def __init__(self, text: str, *, was_sent: bool = True) -> None:
        super().__init__(text)
        self.was_sent = was_sent


class ResponseTooLargeError(HttpError):
    """The response is longer than the limit; sending the request again would not help."""


@dataclass(frozen=True)
class HttpResponse:
    """A whole response, its body decompressed; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode(errors="replace")


class HttpClient:
    """Sends requests to one server; connections are reused, and there is no limit on their number.

    It may be made without an event loop. A client that is used in a second event loop opens new connections.

    Args:
        base_url: every request's path is appended to it; a user and password in it are sent as basic auth.
        headers: sent with every request.
        connect_timeout_s: for a connection, including name resolution and TLS.
        read_timeout_s: the longest time without a byte from the server.
        follow_redirects: otherwise a redirect is returned like any other response.
        max_response_bytes: the longest body that is accepted.

    Raises:
        UsageError: ``base_url`` is not a URL.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        connect_timeout_s: float,
        read_timeout_s: float,
        follow_redirects: bool = False,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        url = parse_url(base_url)
        self._headers = dict(headers or {})
        if url.userinfo:
            self._headers["Authorization"] = _basic_auth(url)
            url = url.copy_with(userinfo=b"")
        self._base_url = str(url)
        self._scheme, self._host = url.scheme, url.host
        self._timeout = _timeout(connect_timeout_s, read_timeout_s)
        self._follow_redirects = follow_redirects
        self._max_response_bytes = max_response_bytes
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session:
            await session.close()

    async def connect(self) -> None:
        """Open a connection to the server, or to the proxy before it, and close it; nothing is sent.

        Raises:
            HttpError: nothing accepts connections there.
        """
        proxy = None if urllib.request.proxy_bypass(self._host) else _proxy_for(self._scheme)
        url = parse_url(proxy or self._base_url)
        port = url.port or (443 if url.scheme == "https" else 80)
        limit_s = self._timeout.connect
        try:
            async with asyncio.timeout(limit_s):
                _, writer = await asyncio.open_connection(url.host, port)
        except TimeoutError:
            raise HttpTimeoutError(f"no connection within {limit_s:g} s", was_sent=False) from None
        except OSError as problem:
            raise HttpError(_reason(problem)) from problem
        writer.close()

    async def request(
        self,
        method: str,
        path: str = "",
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> HttpResponse:
        """Send a request and read its whole response.

        Args:
            method: such as ``POST``.
            path: appended to the base URL.
            content: the body.
            headers: in addition to the client's, and in place of those with the same name.
            timeout_s: in place of both timeouts of the client.

        Raises:
            HttpError: there is no response, or an incomplete one.
        """
        session = self._open_session()
        body = io.BytesIO(content) if content and len(content) > _LARGE_BODY_BYTES else content
        try:
            async with session.request(
                method,
                self._base_url + path,
                data=body,
                headers=headers,
                allow_redirects=self._follow_redirects,
                timeout=self._timeout if timeout_s is None else _timeout(timeout_s, timeout_s),
            ) as response:
                received = await self._read(response)
                named = {name.lower(): value for name, value in response.headers.items()}
                return HttpResponse(response.status, named, received)
        except aiohttp.ConnectionTimeoutError:
            limit = self._timeout.connect if timeout_s is None else timeout_s
            raise HttpTimeoutError(f"no connection within {limit:g} s", was_sent=False) from None
        except aiohttp.SocketTimeoutError:
            limit = self._timeout.sock_read if timeout_s is None else timeout_s
            raise HttpTimeoutError(f"no data received for {limit:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            raise HttpError(_reason(problem)) from problem

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        parts, size = [], 0
        while part := await response.content.readany():
            size += len(part)
            if size > self._max_response_bytes:
                raise ResponseTooLargeError(
                    f"the response is longer than {self._max_response_bytes} bytes, the most that is read"
                )
            parts.append(part)
        return b"".join(parts)

    def _open_session(self) -> aiohttp.ClientSession:
        """The session of the running event loop; connections belong to one loop."""
        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop:
            if self._scheme not in {"http", "https"} or not self._host:
                raise HttpError(f"{self._base_url!r} does not begin with http:// or https://")
            self._session, self._loop = self._new_session(), loop
        return self._session

    def _new_session(self) -> aiohttp.ClientSession:
        # Not trust_env: it looks for a proxy, and for a password in ~/.netrc, in a thread, per request.
        proxy = None if urllib.request.proxy_bypass(self._host) else _proxy_for(self._scheme)
        context = httpx2.create_ssl_context() if self._scheme == "https" else True
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=_KEEP_ALIVE_S),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=proxy,
        )


def parse_url(url: str) -> httpx2.URL:
    """A URL and its parts.

    Raises:
        UsageError: it is not a URL.
    """
    try:
        return httpx2.URL(url)
    except httpx2.InvalidURL as problem:
        raise UsageError(
            f"{url!r} is not a valid URL: {problem}.", hint="Use the form http://HOST:PORT."
        ) from None


def _timeout(connect_s: float, read_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=connect_s, sock_read=read_s)


def _basic_auth(url: httpx2.URL) -> str:
    return "Basic " + base64.b64encode(f"{url.username}:{url.password}".encode()).decode()


def _proxy_for(scheme: str) -> str | None:
    """The proxy of the environment for URLs with this scheme.

    Raises:
        UsageError: it is of a kind that is not supported.
    """
    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    if proxy and not proxy.startswith(("http://", "https://")):
        raise UsageError(
            f"A proxy of the kind {proxy.partition(':')[0]} is not supported.",
            hint=f"Set {scheme.upper()}_PROXY to an http:// proxy, or name the host in NO_PROXY.",
        )
    return proxy


def _reason(problem: Exception) -> str:
    """Why there is no response, in one line, in place of aiohttp's addresses and class names."""
    text = str(problem) or type(problem).__name__
    match problem:
        case aiohttp.TooManyRedirects():
            text = "too many redirects"
        case aiohttp.ClientResponseError():
            text = f"not an HTTP response: {problem.message}"
        case aiohttp.ClientPayloadError() if isinstance(problem.__cause__, ContentEncodingError):
            text = "the response cannot be decompressed as its header says"
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError():
            text = "the connection ended before the response was complete"
        case aiohttp.ClientConnectorCertificateError():
            pass
        case OSError():
            cause = problem.os_error if isinstance(problem, aiohttp.ClientConnectorError) else problem
            # asyncio puts the address in the place of the system's words.
            text = os.strerror(cause.errno) if cause.errno and cause.errno > 0 else cause.strerror or text
    return " ".join(text.split())
