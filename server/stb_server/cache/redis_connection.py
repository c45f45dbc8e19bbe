"""Redis as it is in life: it may be away, slow, full or restarted at any moment, and comes back.

A link is up or down. While it is down, nothing waits for it; it is tried again in the background,
after 0.1 s at first and then ever more seldom, up to every five seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter

from stb_server.cache.redis_pipe import RedisGoneError, RedisPipe, RedisRefusedError, RedisReply, connect

_log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.1
LAST_RETRY_S = 5.0


class RedisLink:
    """Keeps one connection to Redis open and says whether it works."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """Make a link; it connects when it is started.

        Args:
            url: where Redis is; may hold a password.
            timeout_s: how long it may take to connect or to answer before it counts as down.
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
        """Connect if Redis is there, and go on looking after the connection in the background."""
        await self._try()
        if not self.is_up:
            _log.warning("Redis is not there; answers come from the store", extra={"reason": self.problem})
        self._task = asyncio.create_task(self._look_after())

    async def close(self) -> None:
        """Hang up."""
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

    async def _try(self) -> None:
        try:
            self._pipe = await connect(self._url, self._timeout_s)
        except RedisGoneError as problem:
            self.problem = str(problem)
            return
        self.problem = ""
        self.counts["connected"] += 1

    async def _look_after(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            pipe = self.pipe
            if pipe is None:
                await asyncio.sleep(retry_s)
                retry_s = min(LAST_RETRY_S, retry_s * 2)
                await self._try()
                if self.is_up:
                    _log.info("Redis is back")
                    retry_s = FIRST_RETRY_S
                continue
            # A timer for each command would cost more than the command: the oldest one is looked at.
            await asyncio.sleep(self._timeout_s / 4)
            if pipe.oldest_s() > self._timeout_s:
                pipe.close(f"Redis did not answer within {self._timeout_s:g} s.")
            if pipe.problem is not None:
                self.counts["lost"] += 1
                self.problem = "Redis hung up or did not answer in time."
                _log.warning("Redis is gone; answers come from the store", extra={"reason": self.problem})

    async def check(self) -> None:
        """Send a PING, so that an idle link that is dead is noticed."""
        with contextlib.suppress(RedisGoneError, RedisRefusedError):
            await self.call(b"PING")
