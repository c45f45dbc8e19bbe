"""A connection to Redis that survives outages: Redis may be away, slow, full or restarted at any moment.

``RedisPipe`` is one connection that all requests of a process share, with many commands under way at
once. All commands of one turn of the event loop go out in one write; replies come back in order. The
connection itself, with its protocol, sign-in and encryption, is redis-py's. A pool would lend a connection
to every command and take it back, which costs more than the command.

``RedisLink`` keeps a pipe open. While the link is down, nothing waits for it; it reconnects in the
background, at first after 0.1 s, then after longer and longer pauses of at most five seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from typing import Any, TypeAlias, cast

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError, ResponseError

from stb_core.errors import UsageError

_log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.1
LAST_RETRY_S = 5.0

RedisReply: TypeAlias = bytes | int | None


class RedisGoneError(Exception):
    """The connection cannot be used: refused, closed, too slow, or out of step."""


class RedisRefusedError(Exception):
    """Redis understood the command and refused it, for instance because its memory is full."""


class RedisPipe:
    """An open connection; ``connect`` makes one."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._outgoing: list[bytes] = []
        self._has_outgoing = asyncio.Event()
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
        self._has_outgoing.set()
        return reply

    def close(self, reason: str = "The connection was closed.") -> None:
        """Close the connection; commands under way fail."""
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
        self._closing = self._loop.create_task(_disconnect(self._connection))

    async def _write(self) -> None:
        while True:
            await self._has_outgoing.wait()
            self._has_outgoing.clear()
            packed, self._outgoing = self._outgoing, []
            try:
                await self._connection.send_packed_command(b"".join(packed), check_health=False)
            except (RedisError, OSError) as problem:
                self.close(f"Redis closed the connection ({problem}).")

    async def _read(self) -> None:
        while True:
            refusal = None
            try:
                value = await self._connection.read_response(disable_decoding=True, disconnect_on_error=False)
            except (ResponseError, BusyLoadingError) as problem:
                refusal = RedisRefusedError(str(problem)[:200])
            except (RedisError, OSError) as problem:
                self.close(f"Redis closed the connection ({problem}).")
                return
            if not self._waiting:
                self.close("Redis sent an unexpected reply.")
                return
            reply, _ = self._waiting.popleft()
            if reply.done():
                continue
            if refusal is not None:
                reply.set_exception(refusal)
            else:
                reply.set_result(cast("RedisReply", value))


async def _disconnect(connection: AbstractConnection) -> None:
    with contextlib.suppress(RedisError, OSError):
        await connection.disconnect(nowait=True)


def check_url(url: str) -> dict[str, Any]:
    """The parts of a Redis URL, as redis-py takes them.

    Raises:
        UsageError: it is not a valid Redis URL.
    """
    try:
        parts = dict(parse_url(url))
    except ValueError:
        parts = {}
    if not (parts.get("host") or parts.get("path")):
        raise UsageError(
            "This is not a valid Redis URL.",
            hint="Use redis://HOST:6379/0, rediss://USER:PASSWORD@HOST/0 or unix:///path/to/socket.",
        )
    return parts


async def connect(url: str, timeout_s: float) -> RedisPipe:
    """Open a connection, sign in and choose the database.

    Raises:
        RedisGoneError: it cannot be opened within ``timeout_s``, or the sign-in is refused.
    """
    parts = check_url(url)
    kind = parts.pop("connection_class", Connection)
    # The link does the waiting and retrying; RESP2 has no messages that nobody asked for.
    connection = kind(**parts, protocol=2, socket_timeout=None, retry=Retry(NoBackoff(), 0))
    try:
        async with asyncio.timeout(timeout_s):
            await connection.connect()
            pipe = RedisPipe(connection)
            await pipe.call(b"PING")
    except (RedisError, RedisGoneError, RedisRefusedError, OSError, TimeoutError) as problem:
        await _disconnect(connection)
        reason = str(problem) or f"no answer within {timeout_s:g} s"
        raise RedisGoneError(f"Redis cannot be reached: {reason}.") from None
    except BaseException:
        await _disconnect(connection)
        raise
    return pipe


class RedisLink:
    """Keeps one connection to Redis open, and says whether it works."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """Make a link; ``start`` connects it.

        Args:
            url: where Redis is; may hold a password.
            timeout_s: how long Redis may take to connect or to answer before it counts as down.
        """
        self._url = url
        self._timeout_s = timeout_s
        self._pipe: RedisPipe | None = None
        self._task: asyncio.Task[None] | None = None
        self.problem = "not connected yet"
        self.counts: Counter[str] = Counter()
        """Events: ``connected``, ``lost``."""

    @property
    def pipe(self) -> RedisPipe | None:
        """The connection, while it works: for callers that count every microsecond."""
        pipe = self._pipe
        return pipe if pipe is not None and pipe.problem is None else None

    @property
    def is_up(self) -> bool:
        """Whether commands can be sent."""
        return self.pipe is not None

    async def start(self) -> None:
        """Connect if Redis answers, and keep the connection up in the background."""
        await self._try_to_connect()
        if not self.is_up:
            _log.warning("Redis does not answer; answers come from the store", extra={"reason": self.problem})
        self._task = asyncio.create_task(self._keep_up())

    async def close(self) -> None:
        """Close the connection."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._pipe:
            self._pipe.close()

    async def call(self, *command: bytes) -> RedisReply:
        """Send a command and wait for its reply, at most for the link's timeout.

        Raises:
            RedisGoneError: the link is or goes down.
            RedisRefusedError: Redis refused the command.
        """
        pipe = self.pipe
        if pipe is None:
            raise RedisGoneError(self.problem)
        return await pipe.call(*command)

    async def check(self) -> None:
        """Send a PING, so that an idle link that is dead is noticed."""
        with contextlib.suppress(RedisGoneError, RedisRefusedError):
            await self.call(b"PING")

    async def _try_to_connect(self) -> None:
        try:
            self._pipe = await connect(self._url, self._timeout_s)
        except RedisGoneError as problem:
            self.problem = str(problem)
            return
        self.problem = ""
        self.counts["connected"] += 1

    async def _keep_up(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            pipe = self.pipe
            if pipe is None:
                await asyncio.sleep(retry_s)
                retry_s = min(LAST_RETRY_S, retry_s * 2)
                await self._try_to_connect()
                if self.is_up:
                    _log.info("Redis is back")
                    retry_s = FIRST_RETRY_S
                continue
            # A timer per command would cost more than the command, so only the oldest one is checked.
            await asyncio.sleep(self._timeout_s / 4)
            if pipe.oldest_s() > self._timeout_s:
                pipe.close(f"Redis did not answer within {self._timeout_s:g} s.")
            if pipe.problem is not None:
                self.counts["lost"] += 1
                self.problem = "Redis closed the connection or did not answer in time."
                _log.warning("Redis is gone; answers come from the store", extra={"reason": self.problem})
