"""Refuses requests from web pages of other sites, which must not use a server of the machine that shows them.

A browser says where a request comes from, and no page can change that: ``Sec-Fetch-Site``, or ``Origin`` where
that is missing, as in old browsers and on plain HTTP beyond the loopback. Programs send neither and are not
affected. Reads need no check, because browsers do not show a page the answers of another site.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from stb_server.app.host_guard import refusal
from stb_server.worker import Hosts

FORBIDDEN = 403
KIND = "foreign_origin"
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_OTHER_SITES = frozenset({b"cross-site", b"same-site"})
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def problem(headers: Iterable[tuple[bytes, bytes]], hosts: Hosts | None) -> str:
    """The message for a request from a page of another site; "" for any other request.

    Args:
        headers: the headers of the request, names in lower case.
        hosts: the names that the server accepts; pages of names from ``--allow-host`` may send requests too.
    """
    site, host, origins = b"", b"", []
    for name, value in headers:
        if name == b"sec-fetch-site":
            site = value.strip().lower()
        elif name == b"origin":
            origins.append(value)
        elif name == b"host":
            host = value
    if site in _OTHER_SITES:
        return _say(f"Sec-Fetch-Site: {site.decode()}")
    if site == b"same-origin":  # the browser knows the address that it requested, whatever proxies change
        return ""
    for origin in origins:
        if not _is_own(origin, host, hosts):
            return _say(f"Origin: {origin[:100].decode('latin-1')}") + (
                " If it was a page of this server behind a proxy with another name, start the server with"
                " --allow-host and that name."
            )
    return ""


def _say(evidence: str) -> str:
    return (
        f"A web page of another site sent this request ({evidence}), and such pages may not change anything"
        " here. Send it from a program, or from a page of this server."
    )


def _is_own(origin: bytes, host: bytes, hosts: Hosts | None) -> bool:
    """Whether an origin is the requested host or one of ``--allow-host``; ``null`` is neither."""
    scheme, _, place = origin.decode("latin-1").strip().lower().partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    if port is None:
        return False
    requested = host.decode("latin-1").strip().lower()
    if place.removesuffix(port) == requested.removesuffix(port):
        return True
    return hosts is not None and hosts.is_configured(place.encode("latin-1"))


class OriginGuard:
    """Answers 403 to requests from pages of other sites that do more than read."""

    def __init__(self, app: ASGIApp, hosts: Hosts | None) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request."""
        if (
            scope["type"] == "http"
            and scope["method"] not in _READS
            and (text := problem(scope["headers"], self._hosts))
        ):
            await refusal(scope, FORBIDDEN, KIND, text)(scope, receive, send)
            return
        await self._app(scope, receive, send)
