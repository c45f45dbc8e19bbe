"""Adds a client's request id to the log, and the request to the trace if tracing is on."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stb_core.telemetry import logs, traces

_LONGEST = 300


class RequestLabels:
    """Wraps the application: ``X-Request-ID`` becomes the field ``request`` of log lines."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http":
            await self._lifespan(scope, receive, send)
            return
        request_id = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        answer = self._traced if traces.are_enabled() else self._app
        if not request_id:
            await answer(scope, receive, send)
            return
        name = request_id[:_LONGEST].decode("latin-1")
        with logs.fields(request=name if name.isprintable() else repr(name)):
            await answer(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            traces.flush()

    async def _traced(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with traces.server_span(f"{method} {_route(path)}", headers) as span:

            async def send_and_trace(message: Message) -> None:
                if message["type"] == "http.response.start":
                    sent = dict(message["headers"])
                    status = message["status"]
                    span.set(
                        {
                            "http.request.method": method,
                            "http.route": _route(path),
                            "http.response.status_code": status,
                            **{
                                f"stb.{name}": sent[header].decode()
                                for name, header in _HEADERS.items()
                                if header in sent
                            },
                        }
                    )
                    if status >= 500:
                        span.fail(str(status))
                await send(message)

            await self._app(scope, receive, send_and_trace)


_HEADERS = {
    "key": b"x-stb-key",
    "provenance": b"x-stb-provenance",
    "cache": b"x-stb-cache",
    "error": b"x-stb-error",
}


def _route(path: str) -> str:
    """The first segments of a path; the rest are names, of which there are many."""
    return "/" + "/".join(path.split("/")[1:3]) if path.startswith("/v1/") else "/" + path.split("/")[1]
