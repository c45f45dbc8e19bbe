"""Decides which process fetches an answer while the others wait: locks by name, whose holders may die.

Locks are in Redis if there is one, else in the store. A lock only saves work. If Redis is lost and two
processes hold the same lock, an answer is fetched twice, and the store's unique key decides which is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.errors import StoreError
from stb_core.store import Store, leases
from stb_server.cache import RedisGoneError, RedisLink, RedisRefusedError, StoreWriter

_log = logging.getLogger(__name__)

LOCK_S = 15.0
"""How long a lock outlives a holder that died."""
_GIVE_BACK_S = 5.0
_FIRST_WAIT_S = 0.005
_LAST_WAIT_S = 0.2

# A value that never ends, or later than any lock of ours, is none of ours: nobody may wait for it.
_RENEW = b"""local left = redis.call("pttl", KEYS[1])
if redis.call("get", KEYS[1]) == ARGV[1] or left < 0 or left > tonumber(ARGV[2]) then
  redis.call("set", KEYS[1], ARGV[1], "PX", ARGV[2])
  return 1
end
return 0"""
_RELEASE = b'return redis.call("get",KEYS[1])==ARGV[1] and redis.call("del",KEYS[1]) or 0'


class Locks(Protocol):
    """Takes, renews and releases locks."""

    async def take(self, name: str, token: str) -> bool:
        """Take the lock, or renew it; False while someone else holds it."""
        ...

    async def give_back(self, name: str, token: str) -> None:
        """Release the lock; nothing happens if someone else holds it."""
        ...


class StoreLocks:
    """Locks as leases in the store, taken in the store writer's transactions."""

    def __init__(self, store: Store, writer: StoreWriter) -> None:
        self._store = store
        self._writer = writer

    async def take(self, name: str, token: str) -> bool:
        """Take or renew a lease.

        Raises:
            StoreError: the store cannot be written.
        """
        return await self._writer.do_together("take leases", (name, token), self._take_all)

    async def give_back(self, name: str, token: str) -> None:
        """Release a lease."""
        await self._writer.do_together("give leases back", (name, token), self._give_back_all)

    async def _take_all(self, connection: AsyncConnection, wanted: Sequence[tuple[str, str]]) -> list[bool]:
        return await leases.take_all(self._store, connection, wanted, LOCK_S)

    async def _give_back_all(
        self, connection: AsyncConnection, held: Sequence[tuple[str, str]]
    ) -> list[None]:
        await leases.give_back_all(connection, held)
        return [None] * len(held)


class RedisLocks:
    """Locks in Redis, or in the store while Redis is away."""

    def __init__(self, link: RedisLink, otherwise: Locks) -> None:
        self._link = link
        self._otherwise = otherwise

    async def take(self, name: str, token: str) -> bool:
        """Take or renew a lock."""
        lifetime = b"%d" % int(LOCK_S * 1000)
        place, value = _place(name), token.encode()
        try:
            if await self._link.call(b"SET", place, value, b"NX", b"PX", lifetime) is not None:
                return True
            return await self._link.call(b"EVAL", _RENEW, b"1", place, value, lifetime) == 1
        except (RedisGoneError, RedisRefusedError):
            return await self._otherwise.take(name, token)

    async def give_back(self, name: str, token: str) -> None:
        """Release a lock, wherever it was taken."""
        try:
            freed = await self._link.call(b"EVAL", _RELEASE, b"1", _place(name), token.encode())
        except (RedisGoneError, RedisRefusedError):
            freed = 0
        if freed != 1:
            await self._otherwise.give_back(name, token)


def _place(name: str) -> bytes:
    return f"stb:lock:{name}".encode()


@asynccontextmanager
async def holding(locks: Locks, name: str) -> AsyncGenerator[bool]:
    """Hold a lock while the block runs; yields whether it had to wait for another holder.

    Raises:
        StoreError: locks are kept in the store, which does not answer.
    """
    token = secrets.token_hex(8)
    waited, pause_s = False, _FIRST_WAIT_S
    while not await locks.take(name, token):
        waited = True
        await asyncio.sleep(pause_s)
        pause_s = min(_LAST_WAIT_S, pause_s * 1.5)
    renewing = asyncio.create_task(_renew(locks, name, token))
    try:
        yield waited
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        with contextlib.suppress(StoreError, TimeoutError):  # the lock expires by itself
            async with asyncio.timeout(_GIVE_BACK_S):
                await locks.give_back(name, token)


async def _renew(locks: Locks, name: str, token: str) -> None:
    async for _ in _every(LOCK_S / 3):
        try:
            if not await locks.take(name, token):
                _log.warning("a lock was lost; its work may be done twice", extra={"lock": name})
                return
        except StoreError:
            _log.warning("a lock cannot be renewed", extra={"lock": name})


async def _every(seconds: float) -> AsyncIterator[None]:
    while True:
        await asyncio.sleep(seconds)
        yield
