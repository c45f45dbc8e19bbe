"""Lets only requests in that were meant for this server by name: no page of another site can reach it.

A browser that is led to a name whose address then changes to the loopback (DNS rebinding) sends that
name as ``Host``. So a server of this machine alone answers to the names of this machine, and to those
that it was told.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from stb_core.errors import UsageError

MISDIRECTED = 421
KIND = "unknown_host"
_MOST_REMEMBERED = 1_000


class Hosts:
    """The names under which a server may be asked; those of the loopback are always among them.

    Args:
        names: host names without ports; ``*.example.org`` means all below it, ``*`` any at all.

    Raises:
        UsageError: one of them is no name.
    """

    def __init__(self, names: Sequence[str]) -> None:
        given = [name.strip().lower().rstrip(".") for name in names]
        for name in given:
            if not name or any(sign in name for sign in "/@ ") or (name.count(":") == 1):
                raise UsageError(
                    f"{name!r} is no host name.", hint="Write it as in stb.example.org, without a port."
                )
        self._is_any = "*" in given
        self._told = frozenset(name for name in given if not name.startswith("*"))
        self._told_endings = tuple(name[1:] for name in given if name.startswith("*."))
        self._known: dict[bytes, bool] = {}

    def accept(self, header: bytes) -> bool:
        """Whether the value of a ``Host`` header, with or without a port, is one of them."""
        known = self._known.get(header)
        if known is None:
            known = self._is_any or self._is_ours(_name(header))
            if len(self._known) < _MOST_REMEMBERED:
                self._known[header] = known
        return known

    def was_told(self, header: bytes) -> bool:
        """Whether it is a name that the server was told, other than ``*``."""
        name = _name(header)
        return name in self._told or name.endswith(self._told_endings)

    def _is_ours(self, name: str) -> bool:
        if name == "localhost" or name.endswith((".localhost", *self._told_endings)) or name in self._told:
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False


def explain(header: bytes) -> str:
    """What to say to a request under another name."""
    name = _name(header)[:100]
    return (
        f"This server does not answer to the name {name!r}. If the name is meant for it, "
        "start it with --allow-host and that name."
    )


class HostGuard:
    """Refuses requests under other names with 421; lets all pass without ``hosts``."""

    def __init__(self, app: ASGIApp, hosts: Hosts | None) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request; one without the header comes from no browser."""
        if scope["type"] == "http" and self._hosts is not None:
            for name, value in scope["headers"]:
                if name == b"host" and not self._hosts.accept(value):
                    await refusal(scope, MISDIRECTED, KIND, explain(value))(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def refusal(scope: Scope, status: int, kind: str, text: str) -> Response:
    """The answer to a request that goes no further: plain text for a browser, JSON for others."""
    headers = {"x-stb-error": kind}
    if b"text/html" in dict(scope["headers"]).get(b"accept", b""):
        return PlainTextResponse(text, status, headers)
    return JSONResponse({"error": text, "response": ""}, status, headers)


def _name(header: bytes) -> str:
    """The name in a ``Host`` header: ``[::1]:8080`` → ``::1``."""
    text = header.decode("latin-1").strip().lower()
    if text.startswith("["):
        address, end, _ = text[1:].partition("]")
        return address if end else ""
    return text.partition(":")[0].rstrip(".")
