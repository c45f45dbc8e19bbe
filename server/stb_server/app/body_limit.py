"""Limits the size of request bodies, for endpoints that do not do so themselves, and refuses compressed ones."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

UNSUPPORTED = 415
KIND = "unsupported_encoding"
TEXT = "The request body is compressed. Send it without Content-Encoding."


def is_compressed(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether ``Content-Encoding`` says that a body is compressed; names of headers in lower case."""
    return any(
        name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}
        for name, value in headers
    )


class BodyLimit:
    """Answers 415 to a compressed body, and 413 below ``prefix`` to one that is larger than allowed."""

    def __init__(self, app: ASGIApp, prefix: str, max_bytes: int) -> None:
        self._app = app
        self._prefix = prefix
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, and count the bytes that are read."""
        if scope["type"] == "http" and is_compressed(scope["headers"]):
            content = {"error": TEXT, "type": KIND, "response": ""}
            await JSONResponse(content, UNSUPPORTED, {"x-stb-error": KIND})(scope, receive, send)
            return
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
