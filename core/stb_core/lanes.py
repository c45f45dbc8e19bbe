"""HTTP connections that cost the same however many there are.

The pool of the HTTP library looks at all its connections for every request, so that a request takes
longer the more are in flight: 0.9 ms of CPU with 16, 8 ms with 256. Here the connection that became
free last is taken, and nothing else is looked at.
"""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING

import httpx2

if TYPE_CHECKING:
    import ssl

_ONE = httpx2.Limits(max_connections=1, max_keepalive_connections=1)


class Lanes(httpx2.AsyncBaseTransport):
    """A transport for one host; each connection carries one request at a time, whole answers only.

    The proxies of the environment are used, as everywhere.
    """

    def __init__(self, base_url: str) -> None:
        url = httpx2.URL(base_url)
        self._proxy = None if urllib.request.proxy_bypass(url.host) else _proxy_of(url.scheme)
        self._context: ssl.SSLContext | None = None
        self._needs_tls = url.scheme == "https" or (self._proxy or "").startswith("https")
        self._idle: list[httpx2.AsyncHTTPTransport] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request by a free connection, or by a new one, and read the answer to its end."""
        lane = self._idle.pop() if self._idle else self._open()
        try:
            response = await lane.handle_async_request(request)
            await response.aread()
        except BaseException:
            await lane.aclose()
            raise
        self._idle.append(lane)
        return response

    def _open(self) -> httpx2.AsyncHTTPTransport:
        if self._context is None and self._needs_tls:
            self._context = httpx2.create_ssl_context()
        return httpx2.AsyncHTTPTransport(verify=self._context or False, limits=_ONE, proxy=self._proxy)

    async def aclose(self) -> None:
        """Close all connections that are free."""
        idle, self._idle = self._idle, []
        for lane in idle:
            await lane.aclose()


def _proxy_of(scheme: str) -> str | None:
    proxies = urllib.request.getproxies()
    return proxies.get(scheme) or proxies.get("all")
