"""Refuses requests under other host names, so that no page of another site can reach the server.

In DNS rebinding a browser loads a page from a name whose address then changes to the loopback; it still sends
that name as ``Host``. So a server that only this machine can reach accepts the names of this machine and
those of ``--allow-host``.
"""

from __future__ import annotations

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from stb_server.worker import Hosts, host_name

MISDIRECTED = 421
KIND = "unknown_host"


def explain(header: bytes) -> str:
    """The message for a request under another name."""
    name = host_name(header)[:100]
    return (
        f"This server does not accept the host name {name!r}. If the name is correct, "
        "start the server with --allow-host and that name."
    )


class HostGuard:
    """Answers 421 to requests under other names; without ``hosts`` all names are accepted."""

    def __init__(self, app: ASGIApp, hosts: Hosts | None) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request; browsers always send the header."""
        if scope["type"] == "http" and self._hosts is not None:
            for name, value in scope["headers"]:
                if name == b"host" and not self._hosts.accept(value):
                    await refusal(scope, MISDIRECTED, KIND, explain(value))(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def refusal(scope: Scope, status: int, kind: str, text: str) -> Response:
    """The answer to a refused request: plain text for a browser, JSON for others."""
    headers = {"x-stb-error": kind}
    if b"text/html" in dict(scope["headers"]).get(b"accept", b""):
        return PlainTextResponse(text, status, headers)
    return JSONResponse({"error": text, "response": ""}, status, headers)
