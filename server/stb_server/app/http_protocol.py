"""uvicorn's HTTP/1.1 that ignores a client's offer to upgrade, as RFC 9110 (7.8) allows.

Java's ``HttpClient`` and ``curl --http2`` offer HTTP/2 with every first request (``Upgrade: h2c``). The
parser assumes that such a request ends after its head, so its body would be lost.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

_UPGRADE = b"upgrade"


class IgnoringUpgrades(HttpToolsProtocol):
    """Serves each request as if it had no ``Upgrade`` header."""

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], **more: Any
    ) -> None:
        super().__init__(config, server_state, app_state, **more)
        self.parser = _Parser(self)
        self._is_upgrade = False

    def on_headers_complete(self) -> None:
        """Handle a complete head; a head with an upgrade is parsed again without it."""
        self._is_upgrade = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if not self._is_upgrade:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Handle a complete request."""
        if not self._is_upgrade:
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

    def __init__(self, protocol: IgnoringUpgrades) -> None:
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
