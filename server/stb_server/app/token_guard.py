"""Requires the server's token, if it has one; only liveness is open to all."""

from __future__ import annotations

import hmac

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from stb_server.inspector import sign_in

_OPEN = frozenset({"/healthz"})
# Episodes have their own tokens; only opening one needs the server's.
_OPEN_BELOW = ("/v1/episodes/", "/e/", "/mcp/e/", "/proxy/e/")


def is_authorized(presented: bytes, token: str) -> bool:
    """Whether an ``Authorization`` header has the token."""
    return hmac.compare_digest(presented, f"Bearer {token}".encode())


def _is_open(path: str) -> bool:
    return path in _OPEN or path.startswith(_OPEN_BELOW) or sign_in.is_open(path)


class TokenGuard:
    """Answers 401 to requests without the token; an empty token disables the check.

    A browser is redirected to a form that takes the token and sets a cookie.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request."""
        if scope["type"] == "http" and self._token and not _is_open(scope["path"]):
            presented = dict(scope["headers"]).get(b"authorization", b"")
            if not is_authorized(presented, self._token) and not sign_in.admits(scope, self._token):
                refusal = sign_in.redirect_browser(scope, self._token) or JSONResponse(
                    {"error": "This server needs its token: Authorization: Bearer ….", "response": ""},
                    401,
                    headers={"www-authenticate": "Bearer", "x-stb-error": "unauthorized"},
                )
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)
