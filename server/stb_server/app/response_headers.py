"""Tells browsers to take answers for what they are: text that looks like a page is not shown as one."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

NO_SNIFFING = b"x-content-type-options", b"nosniff"


class ResponseHeaders:
    """Adds ``X-Content-Type-Options: nosniff`` to answers that do not have it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                if NO_SNIFFING not in headers:
                    message = {**message, "headers": [*headers, NO_SNIFFING]}
            await send(message)

        await self._app(scope, receive, send_with_header if scope["type"] == "http" else send)
