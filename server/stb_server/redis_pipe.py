"""One Redis connection that all requests of a process share, with many commands under way at once.

What is asked for in one turn of the event loop goes out in one write, and replies come back in
order (RESP2, https://redis.io/docs/latest/develop/reference/protocol-spec/). A pool that lends a
connection to each command costs about 150 µs of CPU a command more.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import TypeAlias, cast
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from stb_core.errors import UsageError

Reply: TypeAlias = bytes | int | None

_MAX_REPLY_BYTES = 64 << 20


class RedisGoneError(Exception):
    """The connection is not usable: refused, closed, too slow, or out of step."""


class RedisRefusedError(Exception):
    """Redis understood the command and refused it, as it does when its memory is full."""


class RedisPipe(asyncio.Protocol):
    """An open connection; get one with ``connect``."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._outgoing: list[bytes] = []
        self._waiting: deque[tuple[asyncio.Future[Reply], float]] = deque()
        self._received = b""
        self.problem: RedisGoneError | None = None
        """Why nothing can be sent any more; None while the connection works."""

    def oldest_s(self) -> float:
        """How long the oldest command has been waiting for its reply, in seconds."""
        return self._loop.time() - self._waiting[0][1] if self._waiting else 0.0

    def call(self, *command: bytes) -> asyncio.Future[Reply]:
        """Send a command; the future fails with ``RedisGoneError`` or ``RedisRefusedError``."""
        reply: asyncio.Future[Reply] = self._loop.create_future()
        if self.problem is not None:
            reply.set_exception(self.problem)
            return reply
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(b"*%d\r\n" % len(command))
        self._outgoing += [b"$%d\r\n%b\r\n" % (len(part), part) for part in command]
        self._waiting.append((reply, self._loop.time()))
        return reply

    def close(self, reason: str = "The connection was closed.") -> None:
        """Give up; what is under way fails."""
        if self.problem is None:
            self.problem = RedisGoneError(reason)
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            reply, _ = self._waiting.popleft()
            if not reply.done():
                reply.set_exception(self.problem)
                reply.exception()  # nobody may be waiting any more

    def _flush(self) -> None:
        if self._transport is not None and self.problem is None:
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self.close(f"Redis hung up ({exc})." if exc else "Redis hung up.")

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self._received:
            data = self._received + data
        place: int | None = 0
        end = 0
        try:
            while place is not None and place < len(data) and self._waiting:
                end = place
                place = self._take_reply(data, place)
        except ValueError:
            self.close("What answers there does not speak Redis's protocol.")
            return
        self._received = data[end if place is None else place :]

    def _take_reply(self, data: bytes, start: int) -> int | None:
        """Hand out the reply that begins at ``start``; returns where it ends, None if it is not whole."""
        end = data.find(b"\r\n", start)
        if end < 0:
            return None
        kind, value, after = data[start], data[start + 1 : end], end + 2
        result: Reply = value
        if kind == 0x24:  # $: a string of so many bytes, -1 for nothing
            length = int(value)
            if length > _MAX_REPLY_BYTES:
                raise ValueError
            result = None
            if length >= 0:
                if len(data) < after + length + 2:
                    return None
                result = data[after : after + length]
                after += length + 2
        elif kind == 0x3A:  # :
            result = int(value)
        elif kind not in {0x2B, 0x2D}:  # + and -
            raise ValueError
        reply, _ = self._waiting.popleft()
        if reply.done():
            return after
        if kind == 0x2D:
            reply.set_exception(RedisRefusedError(value.decode(errors="replace")[:200]))
        else:
            reply.set_result(result)
        return after


def check_url(url: str) -> SplitResult:
    """The parts of a Redis URL.

    Raises:
        UsageError: it is none.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"redis", "rediss", "unix"} or not (parts.hostname or parts.path):
        raise UsageError(
            "The Redis URL is none.",
            hint="Write redis://HOST:6379/0, rediss://USER:PASSWORD@HOST/0 or unix:///path/to/socket.",
        )
    return parts


async def connect(url: str, timeout_s: float) -> RedisPipe:
    """Open a connection, sign in and choose the database.

    Raises:
        RedisGoneError: it cannot be opened within ``timeout_s``, or the sign-in is refused.
    """
    parts = check_url(url)
    loop = asyncio.get_running_loop()
    pipe = RedisPipe()
    try:
        async with asyncio.timeout(timeout_s):
            if parts.scheme == "unix":
                await loop.create_unix_connection(lambda: pipe, parts.path)
            else:
                secure = ssl.create_default_context() if parts.scheme == "rediss" else None
                await loop.create_connection(
                    lambda: pipe, parts.hostname or "", parts.port or 6379, ssl=secure
                )
            for command in _greeting(parts):
                await pipe.call(*command)
    except (OSError, TimeoutError, RedisRefusedError) as problem:
        pipe.close()
        reason = str(problem) or f"no answer within {timeout_s:g} s"
        raise RedisGoneError(f"Redis cannot be reached: {reason}.") from None
    except BaseException:
        pipe.close()
        raise
    return pipe


def _greeting(parts: SplitResult) -> list[tuple[bytes, ...]]:
    commands: list[tuple[bytes, ...]] = []
    if parts.password:
        user = [unquote(parts.username).encode()] if parts.username else []
        commands.append((b"AUTH", *user, unquote(parts.password).encode()))
    in_query = parse_qs(parts.query).get("db", [""])[0]
    database = in_query or (parts.path.strip("/") if parts.scheme != "unix" else "")
    if database and database != "0":
        commands.append((b"SELECT", database.encode()))
    return [*commands, (b"PING",)]
