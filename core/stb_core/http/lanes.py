"""HTTP connections that cost the same however many there are.

The pool of the HTTP library looks at all its connections for every request, so that a request takes
longer the more are in flight: 0.9 ms of CPU with 16, 8 ms with 256. Here the connection that became
free last is taken, and nothing else is looked at. Connections are our own but for proxies, which are
left to the library.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import httpx2

from stb_core.errors import UsageError
from stb_core.http.lane import Answer, Lane

if TYPE_CHECKING:
    import ssl

AnyLane: TypeAlias = Lane | httpx2.AsyncHTTPTransport
T = TypeVar("T")

_ONE = httpx2.Limits(max_connections=1, max_keepalive_connections=1)


class Lanes(httpx2.AsyncBaseTransport):
    """A transport for one host; each connection carries one request at a time, whole answers only.

    The proxies of the environment are used, as everywhere.
    """

    def __init__(self, base_url: str) -> None:
        url = parsed(base_url)
        self._proxy = None if urllib.request.proxy_bypass(url.host) else _proxy_of(url.scheme)
        self._url = url
        self._origin = _origin(url)
        self._context: ssl.SSLContext | None = None
        self._needs_tls = url.scheme == "https"
        self._idle: list[AnyLane] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request by a free connection, or by a new one, and read the answer to its end."""
        if _origin(request.url) != self._origin:  # a redirection leads elsewhere
            async with self._by_library() as other:
                response = await other.handle_async_request(request)
                await response.aread()
                return response
        return await self._use(lambda lane: _response(lane, request))

    @property
    def are_direct(self) -> bool:
        """Whether ``exchange`` works: the connections are our own."""
        return self._proxy is None

    async def exchange(self, data: bytes, connect_s: float | None, silence_s: float | None) -> Answer:
        """As ``handle_async_request``, with a request and an answer as bytes; see ``Lane.exchange``."""
        return await self._use(lambda lane: cast("Lane", lane).exchange(data, connect_s, silence_s))

    async def _use(self, ask: Callable[[AnyLane], Coroutine[Any, Any, T]]) -> T:
        """Ask by a free connection, or by a new one; one that fails is closed."""
        lane = self._free() or self._open()
        try:
            answer = await ask(lane)
        except BaseException:
            await lane.aclose()
            raise
        self._idle.append(lane)
        return answer

    def _free(self) -> AnyLane | None:
        """The connection that became free last and that nobody has closed since."""
        while self._idle:
            lane = self._idle.pop()
            if not isinstance(lane, Lane) or lane.is_open:
                return lane
        return None

    def _open(self) -> AnyLane:
        if self._url.scheme not in {"http", "https"} or not self._url.host:
            raise httpx2.UnsupportedProtocol(f"{str(self._url)!r} does not begin with http:// or https://")
        if self._proxy:
            return self._by_library()
        port = self._url.port or (443 if self._needs_tls else 80)
        return Lane(self._url.host, port, self._tls() if self._needs_tls else None)

    def _by_library(self) -> httpx2.AsyncHTTPTransport:
        return httpx2.AsyncHTTPTransport(verify=self._tls(), limits=_ONE, proxy=self._proxy)

    def _tls(self) -> ssl.SSLContext:
        """Made when it is first needed, which takes a while."""
        if self._context is None:
            self._context = httpx2.create_ssl_context()
        return self._context

    async def aclose(self) -> None:
        """Close all connections that are free."""
        idle, self._idle = self._idle, []
        for lane in idle:
            await lane.aclose()


async def _response(lane: AnyLane, request: httpx2.Request) -> httpx2.Response:
    """The whole answer to a request."""
    response = await lane.handle_async_request(request)
    await response.aread()
    return response


def parsed(url: str) -> httpx2.URL:
    """An address as its parts.

    Raises:
        UsageError: it is none.
    """
    try:
        return httpx2.URL(url)
    except httpx2.InvalidURL as problem:
        raise UsageError(
            f"{url!r} is no address: {problem}.", hint="Write such as http://HOST:PORT."
        ) from None


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _proxy_of(scheme: str) -> str | None:
    proxies = urllib.request.getproxies()
    return proxies.get(scheme) or proxies.get("all")
