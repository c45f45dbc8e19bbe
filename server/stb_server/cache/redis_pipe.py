"""One Redis connection that all requests of a process share, with many commands under way at once.

What is asked for in one turn of the event loop goes out in one write, and replies come back in
order. The connection itself, with its protocol, sign-in and encryption, is that of redis-py; what a
pool would add, lending a connection to each command and taking it back, costs more than the command.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any, TypeAlias, cast

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError, ResponseError

from stb_core.errors import UsageError

RedisReply: TypeAlias = bytes | int | None


class RedisGoneError(Exception):
    """The connection is not usable: refused, closed, too slow, or out of step."""


class RedisRefusedError(Exception):
    """Redis understood the command and refused it, as it does when its memory is full."""


class RedisPipe:
    """An open connection; get one with ``connect``."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._outgoing: list[bytes] = []
        self._asked = asyncio.Event()
        self._waiting: deque[tuple[asyncio.Future[RedisReply], float]] = deque()
        self._tasks = [self._loop.create_task(self._write()), self._loop.create_task(self._read())]
        self._closing: asyncio.Task[None] | None = None
        self.problem: RedisGoneError | None = None
        """Why nothing can be sent any more; None while the connection works."""

    def oldest_s(self) -> float:
        """How long the oldest command has been waiting for its reply, in seconds."""
        return self._loop.time() - self._waiting[0][1] if self._waiting else 0.0

    def call(self, *command: bytes) -> asyncio.Future[RedisReply]:
        """Send a command; the future fails with ``RedisGoneError`` or ``RedisRefusedError``."""
        reply: asyncio.Future[RedisReply] = self._loop.create_future()
        if self.problem is not None:
            reply.set_exception(self.problem)
            return reply
        self._outgoing += self._connection.pack_command(*command)
        self._waiting.append((reply, self._loop.time()))
        self._asked.set()
        return reply

    def close(self, reason: str = "The connection was closed.") -> None:
        """Give up; what is under way fails."""
        if self.problem is not None:
            return
        self.problem = RedisGoneError(reason)
        for task in self._tasks:
            task.cancel()
        while self._waiting:
            reply, _ = self._waiting.popleft()
            if not reply.done():
                reply.set_exception(self.problem)
                reply.exception()  # nobody may be waiting any more
        self._closing = self._loop.create_task(_hang_up(self._connection))

    async def _write(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            packed, self._outgoing = self._outgoing, []
            try:
                await self._connection.send_packed_command(b"".join(packed), check_health=False)
            except (RedisError, OSError) as problem:
                self.close(f"Redis hung up ({problem}).")

    async def _read(self) -> None:
        while True:
            refusal = None
            try:
                value = await self._connection.read_response(disable_decoding=True, disconnect_on_error=False)
            except (ResponseError, BusyLoadingError) as problem:
                refusal = RedisRefusedError(str(problem)[:200])
            except (RedisError, OSError) as problem:
                self.close(f"Redis hung up ({problem}).")
                return
            if not self._waiting:
                self.close("Redis said something that it was not asked.")
                return
            reply, _ = self._waiting.popleft()
            if reply.done():
                continue
            if refusal is not None:
                reply.set_exception(refusal)
            else:
                reply.set_result(cast("RedisReply", value))


async def _hang_up(connection: AbstractConnection) -> None:
    with contextlib.suppress(RedisError, OSError):
        await connection.disconnect(nowait=True)


def check_url(url: str) -> dict[str, Any]:
    """What a Redis URL says, as redis-py takes it.

    Raises:
        UsageError: it is none.
    """
    try:
        parts = dict(parse_url(url))
    except ValueError:
        parts = {}
    if not (parts.get("host") or parts.get("path")):
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
    kind = parts.pop("connection_class", Connection)
    # Waiting and trying again are the link's business; RESP2 has no messages that nobody asked for.
    connection = kind(**parts, protocol=2, socket_timeout=None, retry=Retry(NoBackoff(), 0))
    try:
        async with asyncio.timeout(timeout_s):
            await connection.connect()
            pipe = RedisPipe(connection)
            await pipe.call(b"PING")
    except (RedisError, RedisGoneError, RedisRefusedError, OSError, TimeoutError) as problem:
        await _hang_up(connection)
        reason = str(problem) or f"no answer within {timeout_s:g} s"
        raise RedisGoneError(f"Redis cannot be reached: {reason}.") from None
    except BaseException:
        await _hang_up(connection)
        raise
    return pipe
