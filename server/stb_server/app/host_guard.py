"""Lets only requests in that were meant for this server by name: no page of another site can reach it.

A browser that is led to a name whose address then changes to the loopback (DNS rebinding) sends that
name as ``Host``. So a server of this machine alone answers to the names of this machine, and to those
that it was told.
"""

from __future__ import annotations

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from stb_server.worker.host_names import Hosts, host_name

MISDIRECTED = 421
KIND = "unknown_host"


def explain(header: bytes) -> str:
    """What to say to a request under another name."""
    name = host_name(header)[:100]
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
