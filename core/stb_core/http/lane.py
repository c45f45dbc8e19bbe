"""One HTTP/1.1 connection: a request goes out, its whole answer comes back, then the next may go.

The parser is the one of Node.js (llhttp, in the package httptools); what a request costs is a tenth of a
millisecond rather than one.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass
from typing import cast

import httptools
import httpx2

_READS_TO_THE_END = frozenset({b"content-length", b"transfer-encoding"})


@dataclass(frozen=True)
class Answer:
    """A whole answer as it came, its content still encoded where a header says so."""

    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes

    def response(self, request: httpx2.Request | None = None) -> httpx2.Response:
        """The same as the library has it, its content decoded.

        Raises:
            httpx2.DecodingError: it is not encoded as the header says.
        """
        stream = httpx2.ByteStream(self.content)
        response = httpx2.Response(self.status, headers=self.headers, stream=stream, request=request)
        response.read()
        return response


class Lane(asyncio.Protocol):
    """A connection to one host, for requests whose answer has a body: all but HEAD and CONNECT.

    Args:
        host: name or address.
        port: of the host.
        context: for TLS; None for none.
    """

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self._host = host
        self._port = port
        self._context = context
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._deadline: asyncio.Timeout | None = None
        self._silence_s: float | None = None
        self._begin()

    def _begin(self) -> None:
        """Forget the last answer."""
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._in_body = self._is_whole = self._goes_on = False
        self._status = 0

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent without connecting anew."""
        return self._transport is not None and not self._transport.is_closing()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request and wait for all of its answer.

        Raises:
            httpx2.TransportError: there was none, or not a whole one; the connection is closed.
        """
        limits = request.extensions.get("timeout", {})
        data = head_of(request) + await request.aread()
        answer = await self.exchange(data, limits.get("connect"), limits.get("read"))
        return answer.response(request)

    async def exchange(self, data: bytes, connect_s: float | None, silence_s: float | None) -> Answer:
        """Send a request as bytes and wait for all of its answer.

        Args:
            data: head and body.
            connect_s: how long connecting may take.
            silence_s: the longest time without a byte.

        Raises:
            httpx2.TransportError: there was none, or not a whole one; the connection is closed.
        """
        try:
            if not self.is_open:
                await self._connect(connect_s)
            await self._exchange(data, silence_s)
        except BaseException:
            await self.aclose()
            raise
        answer = Answer(self._status, self._headers, b"".join(self._parts))
        if not self._goes_on:
            await self.aclose()
        self._begin()
        return answer

    async def _connect(self, timeout_s: float | None) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                await loop.create_connection(
                    lambda: self,
                    self._host,
                    self._port,
                    ssl=self._context,
                    server_hostname=self._host if self._context else None,
                )
        except TimeoutError:
            raise httpx2.ConnectTimeout(f"no connection within {timeout_s} s") from None
        except OSError as problem:
            raise httpx2.ConnectError(_reason(problem)) from problem

    async def _exchange(self, data: bytes, silence_s: float | None) -> None:
        """Send, and wait until the answer is whole."""
        assert self._transport
        self._waiting = asyncio.get_running_loop().create_future()
        self._silence_s = silence_s
        try:
            async with asyncio.timeout(silence_s) as self._deadline:
                self._transport.write(data)
                await self._waiting
        except TimeoutError:
            if self._deadline and self._deadline.expired():
                raise httpx2.ReadTimeout(f"nothing heard for {silence_s} s") from None
            raise
        finally:
            self._waiting = self._deadline = None

    async def aclose(self) -> None:
        """Close the connection."""
        if self._transport:
            self._transport.abort()
            self._transport = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast("asyncio.Transport", transport)
        self._begin()

    def data_received(self, data: bytes) -> None:
        """A part of an answer, or of what nobody asked for."""
        if self._waiting is None:
            if self._transport:
                self._transport.abort()
            return
        if self._deadline and self._silence_s is not None and not self._waiting.done():
            self._deadline.reschedule(asyncio.get_running_loop().time() + self._silence_s)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as problem:
            self._fail(httpx2.RemoteProtocolError(f"not an HTTP answer: {problem}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side has closed the connection, or it broke."""
        if self._waiting is None or self._waiting.done():
            return
        has_length = any(name.lower() in _READS_TO_THE_END for name, _ in self._headers)
        if exc is not None:
            self._fail(httpx2.ReadError(str(exc)))
        elif self._in_body and not has_length:
            self._waiting.set_result(None)  # the end of the connection is that of the body
        else:
            self._fail(httpx2.RemoteProtocolError("the connection ended before the answer was whole"))

    def _fail(self, problem: Exception) -> None:
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(problem)

    # What the parser calls. What comes behind a whole answer belongs to none.

    def on_message_begin(self) -> None:
        """An answer begins."""
        if self._is_whole:
            self._goes_on = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One line of the head, or of the trailer, which says nothing to us."""
        if not self._in_body:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        if not self._is_whole:
            self._in_body = True
            self._status = self._parser.get_status_code()
            self._goes_on = self._parser.should_keep_alive()

    def on_body(self, part: bytes) -> None:
        """A part of the body."""
        if not self._is_whole:
            self._parts.append(part)

    def on_message_complete(self) -> None:
        """The answer is whole, unless it only says that one will come (RFC 9110, section 15.2)."""
        if self._status < 200:
            self._headers, self._parts, self._in_body = [], [], False
            return
        self._is_whole = True
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)


def _reason(problem: OSError) -> str:
    """Why there is no connection; asyncio puts the address in the place of the system's words."""
    if problem.errno and "Connect call failed" in str(problem):
        return os.strerror(problem.errno)
    return problem.strerror or str(problem)


def head_of(request: httpx2.Request) -> bytes:
    """The head of a request, as it is sent.

    Raises:
        httpx2.LocalProtocolError: a header holds a line break.
    """
    first = b"%s %s HTTP/1.1\r\n\r\n" % (request.method.encode("ascii"), request.url.raw_path)
    return with_headers(first, [b"%s: %s" % header for header in request.headers.raw])


def with_headers(head: bytes, lines: list[bytes]) -> bytes:
    """The same head with more headers.

    Raises:
        httpx2.LocalProtocolError: a line break in one would make two headers of it.
    """
    if any(b"\n" in line or b"\r" in line for line in lines):
        raise httpx2.LocalProtocolError("a header holds a line break")
    return b"\r\n".join([head[:-4], *lines, b"\r\n"])
