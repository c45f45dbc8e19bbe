"""Tells a client whose request could not be answered before the server had to stop: 503, and ask again.

When the time for requests under way is up, uvicorn cancels them. Nothing else does: a client that goes away
cancels nothing.
"""

from __future__ import annotations

import asyncio

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

UNAVAILABLE = 503
KIND = "stopping"
TEXT = "The server is stopping, and this took longer than it could wait. Ask again when it is back."


class StopGuard:
    """Answers a request that is cancelled; one that is half answered is left without its end."""

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
