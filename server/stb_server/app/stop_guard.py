"""Answers 503 to requests that could not be finished before the server had to stop.

When the time for open requests is up, uvicorn cancels them. Nothing else cancels a request, not even a client
that disconnects.
"""

from __future__ import annotations

import asyncio

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

UNAVAILABLE = 503
KIND = "stopping"
TEXT = "The server is stopping and could not finish this request. Retry when it is back."


class StopGuard:
    """Answers cancelled requests; a response that has started is left incomplete."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def sending(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except asyncio.CancelledError:
            if not has_begun:
                content = {"error": TEXT, "type": KIND, "response": ""}
                await JSONResponse(content, UNAVAILABLE, {"x-stb-error": KIND})(scope, receive, send)
