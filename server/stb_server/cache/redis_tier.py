"""The shared tier of the cache: recorded answers in Redis, for all workers and replicas.

Redis is never the only copy. An error here counts as a miss of this tier, and so does a value that is not
exactly what a server put there for this call among these responses.
"""

from __future__ import annotations

import hashlib
from collections import Counter

from stb_core.values import Provenance
from stb_server.cache.cached_answer import CachedAnswer
from stb_server.cache.redis_connection import RedisGoneError, RedisLink, RedisRefusedError

_KEEP_S = b"86400"
MAX_BODY_BYTES = 1 << 20
"""Larger answers are not put into Redis."""


class RedisCache:
    """Gets and puts recorded answers; errors of Redis are never raised."""

    def __init__(self, link: RedisLink) -> None:
        self.link = link
        self.counts: Counter[str] = Counter()
        """Events: ``hit``, ``miss``, ``down``, ``put``, ``put_failed``, ``damaged``."""
        self.is_refusing = False
        """Whether Redis refused the last answer, as it does when it is full."""

    async def get(self, content: str, key: str) -> CachedAnswer | None:
        """The answer to this call among the responses with this hash, or None."""
        pipe = self.link.pipe
        if pipe is None:
            self.counts["down"] += 1
            return None
        name = _name(content, key)
        try:
            value = await pipe.call(b"GET", name)
        except (RedisGoneError, RedisRefusedError):
            self.counts["down"] += 1
            return None
        if not isinstance(value, bytes):
            self.counts["miss"] += 1
            return None
        answer = _decode(name, value)
        self.counts["hit" if answer else "damaged"] += 1
        return answer

    async def put(self, content: str, key: str, answer: CachedAnswer) -> None:
        """Keep an answer for a day, if Redis takes it.

        Args:
            content: the hash of all responses of its dataset, which include this one.
            key: the key of the call.
            answer: the answer.
        """
        if not self.link.is_up or len(answer.body) > MAX_BODY_BYTES:
            return
        name = _name(content, key)
        try:
            await self.link.call(b"SET", name, _encode(name, answer), b"EX", _KEEP_S)
        except RedisGoneError:
            self.counts["put_failed"] += 1
        except RedisRefusedError:
            self.counts["put_failed"] += 1
            self.is_refusing = True
        else:
            self.counts["put"] += 1
            self.is_refusing = False


def _name(content: str, key: str) -> bytes:
    # The number tells these values from those of other versions of this program. Count up with their form.
    return f"stb:2:{content}:{key}".encode()


# One byte before the body says where the answer came from.
_CODES = {
    Provenance.RECORDED: b"r",
    Provenance.LIVE: b"l",
    Provenance.SIMULATED: b"s",
    Provenance.RECORDED_SIMULATED: b"c",
    Provenance.TEMPLATE: b"t",
    Provenance.FAULT: b"f",
    Provenance.MISS: b"m",
}
_PROVENANCES = {code: provenance for provenance, code in _CODES.items()}
_CHECK_BYTES = 8


def _check(name: bytes, content: bytes) -> bytes:
    """Shows that a value is whole and belongs under its name: against mishaps, not against attackers."""
    return hashlib.sha256(name + content).digest()[:_CHECK_BYTES]


def _encode(name: bytes, answer: CachedAnswer) -> bytes:
    content = _CODES[answer.recorded_as] + answer.body
    return _check(name, content) + content


def _decode(name: bytes, value: bytes) -> CachedAnswer | None:
    content = value[_CHECK_BYTES:]
    if value[:_CHECK_BYTES] != _check(name, content):
        return None
    provenance = _PROVENANCES.get(content[:1])
    return None if provenance is None else CachedAnswer.create(content[1:], provenance)
