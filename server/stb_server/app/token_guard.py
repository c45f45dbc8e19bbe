"""Requires a token that the server knows, if it has any; only liveness is open to all."""

from __future__ import annotations

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from stb_server.inspector import sign_in
from stb_server.worker import CLIENT, Client, Clients

UNAUTHORIZED = "This server needs a token: Authorization: Bearer …."
_OPEN = frozenset({"/healthz"})
# Episodes have their own tokens; only opening one needs the server's.
_OPEN_BELOW = ("/v1/episodes/", "/e/", "/mcp/e/", "/proxy/e/")
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


def _is_open(path: str) -> bool:
    return path in _OPEN or path.startswith(_OPEN_BELOW) or sign_in.is_open(path)


class TokenGuard:
    """Answers 401 to requests without a token, and 403 to those that need a right that the token does not give.

    A browser is redirected to a form that takes the token and sets a cookie. Without any token nothing is checked.
    """

    def __init__(self, app: ASGIApp, clients: Clients) -> None:
        self._app = app
        self._clients = clients

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request."""
        if scope["type"] != "http" or not self._clients.are_checked or _is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        authorization = dict(scope["headers"]).get(b"authorization", b"")
        client = self._clients.of_header(authorization) or sign_in.client_of_cookie(scope, self._clients)
        if client is None:
            refusal = sign_in.redirect_browser(scope, self._clients) or JSONResponse(
                {"error": UNAUTHORIZED, "response": ""},
                401,
                headers={"www-authenticate": "Bearer", "x-stb-error": "unauthorized"},
            )
            await refusal(scope, receive, send)
        elif not _may(client, scope):
            text = f"{client.name} may only read. Its rights are in the server's file of tokens."
            refusal = JSONResponse({"error": text, "response": ""}, 403, headers={"x-stb-error": "read_only"})
            await refusal(scope, receive, send)
        else:
            scope[CLIENT] = client
            with client.in_logs():
                await self._app(scope, receive, send)


def _may(client: Client, scope: Scope) -> bool:
    path: str = scope["path"]
    # What a form of the inspector changes needs the write token as well; to try a call does not.
    is_form = sign_in.is_form(path) and not path.endswith("/try")
    return client.writes or scope["method"] in _READS or is_form
