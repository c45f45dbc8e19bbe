"""Limits the size of request bodies, for endpoints that do not do so themselves."""

from __future__ import annotations

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Answers 413 to a request below ``prefix`` whose body is larger than allowed."""

    def __init__(self, app: ASGIApp, prefix: str, max_bytes: int) -> None:
        self._app = app
        self._prefix = prefix
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, and count the bytes that are read."""
        if scope["type"] != "http" or not scope["path"].startswith(self._prefix):
            await self._app(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            # The application sees a disconnect; its response is not sent.
            return {"type": "http.disconnect"} if read > self._max_bytes else message

        async def send_unless_too_large(message: Message) -> None:
            if read <= self._max_bytes:
                await send(message)

        await self._app(scope, counted, send_unless_too_large)
        if read > self._max_bytes:
            text = f"The request body is larger than {self._max_bytes} bytes."
            await JSONResponse({"error": text, "type": "too_large"}, 413)(scope, receive, send)
