"""uvicorn's HTTP/1.1 with two changes: it ignores offers to upgrade, and it waits a limited time for a request.

Java's ``HttpClient`` and ``curl --http2`` offer HTTP/2 with every first request (``Upgrade: h2c``), which a server
may ignore (RFC 9110, 7.8). The parser assumes that such a request ends after its head, so its body would be lost.

A connection that never sends a whole request would stay open for ever, and enough of them use up all file
descriptors.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

RECEIVE_S = 60.0
"""Seconds in which a request must arrive, counted from its first byte, or from the start of the connection."""
_UPGRADE = b"upgrade"
_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class PatientHttp(HttpToolsProtocol):
    """Serves each request as if it had no ``Upgrade`` header, and closes connections that are too slow."""

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], **more: Any
    ) -> None:
        super().__init__(config, server_state, app_state, **more)
        self.parser = _Parser(self)
        self._is_upgrade = False
        self._is_arriving = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(RECEIVE_S, self._give_up)

    def data_received(self, data: bytes) -> None:
        """Read a piece of a request; the limit starts with the first piece of those that come in several."""
        super().data_received(data)
        if not self._is_arriving:
            self._end_deadline()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(RECEIVE_S, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._end_deadline()
        super().connection_lost(exc)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        """Close a connection whose request did not arrive in time."""
        self._deadline = None
        if self.transport.is_closing():
            return
        if self.flow.read_paused:  # it is the server that does not read now
            self._deadline = self.loop.call_later(RECEIVE_S, self._give_up)
            return
        if self.cycle is None or self.cycle.response_complete:  # no application has the request yet
            self.transport.write(_TIMEOUT)
        self.transport.close()

    def on_message_begin(self) -> None:
        """Handle the first byte of a request."""
        self._is_arriving = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Handle a complete head; a head with an upgrade is parsed again without it."""
        self._is_upgrade = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if not self._is_upgrade:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Handle a complete request."""
        if not self._is_upgrade:
            self._is_arriving = False
            super().on_message_complete()

    def head_without_upgrade(self) -> bytes:
        """The last head without its upgrade; empty if the upgrade must not be ignored."""
        if not self._is_upgrade:
            return b""
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != _UPGRADE]
        return b"\r\n".join([*lines, b"", b""])


class _Parser(httptools.HttpRequestParser):
    """Continues after a head with an upgrade, where httptools stops."""

    def __init__(self, protocol: PatientHttp) -> None:
        self._protocol = protocol
        self._begin()

    def _begin(self) -> None:
        """Reset the parser."""
        super().__init__(self._protocol)
        with suppress(AttributeError):  # httptools before 0.6.3 has no such method
            self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does

    def feed_data(self, data: Any) -> None:
        """Parse received data.

        Raises:
            httptools.HttpParserError: the data is not HTTP.
            httptools.HttpParserUpgrade: the client wants a tunnel (CONNECT).
        """
        while True:
            try:
                return super().feed_data(data)
            except httptools.HttpParserUpgrade as pause:
                head = self._protocol.head_without_upgrade()
                if not head:
                    raise
                self._begin()  # a parser that has seen ``close`` would ignore the rest
                data = head + bytes(data[pause.args[0] :])
