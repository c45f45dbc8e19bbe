"""Recorded answers, nearest tier first: the worker's memory, then Redis, then the store.

Memory is a bounded LRU of the bytes that are sent. Memory and Redis hold only what the store holds; both may
be emptied at any time and nothing is lost. In memory, answers are kept under a namespace: a dataset in one
state. The namespace changes when answers are replaced or deleted, and each snapshot has its own.

In Redis, answers are kept under the hash of all responses that the dataset held when it was opened. A copy of
the store, or one restored from a back-up, may later differ under the same names and counts, but not under the
same hash. An answer recorded after that moment belongs to another hash, and is not put into Redis.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable

from stb_server.cache.cached_answer import CachedAnswer
from stb_server.cache.redis_tier import RedisCache
from stb_server.cache.store_reader import Reader
from stb_server.calls import MISS, Answer, CallRequest, Decline

# What an answer costs in memory beside its body: its key, its objects, and its place in the index.
_OVERHEAD_BYTES = 500


class MemoryCache:
    """An LRU of answers that holds at most ``max_bytes``."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._entries: OrderedDict[tuple[str, str], CachedAnswer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, namespace: str, key: str) -> CachedAnswer | None:
        """The answer, or None."""
        place = namespace, key
        answer = self._entries.get(place)
        if answer is not None:
            self._entries.move_to_end(place)
        return answer

    def put(self, namespace: str, key: str, answer: CachedAnswer) -> None:
        """Keep an answer, and drop those used longest ago until there is room."""
        if len(answer.body) + _OVERHEAD_BYTES > self.max_bytes:
            return
        place = namespace, key
        old = self._entries.pop(place, None)
        if old is not None:
            self.size_bytes -= len(old.body) + _OVERHEAD_BYTES
        self._entries[place] = answer
        self.size_bytes += len(answer.body) + _OVERHEAD_BYTES
        while self.size_bytes > self.max_bytes:
            _, dropped = self._entries.popitem(last=False)
            self.size_bytes -= len(dropped.body) + _OVERHEAD_BYTES

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.size_bytes = 0


class Tiers:
    """The tiers of the cache, each a copy of part of the next."""

    def __init__(self, memory: MemoryCache, redis: RedisCache | None, reader: Reader) -> None:
        self.memory = memory
        self.redis = redis
        self.reader = reader
        self.counts: Counter[str] = Counter()
        """Look-ups by the tier that answered, ``memory``, ``redis`` or ``store``, or ``miss``."""

    async def get(
        self, request: CallRequest, read: Callable[[], Awaitable[CachedAnswer | None]]
    ) -> tuple[CachedAnswer, str] | None:
        """The answer to a call and the tier that had it; ``read`` asks the store.

        Raises:
            StoreError: the store had to be asked and does not answer.
        """
        namespace, key, content = request.namespace, request.call.key, request.content
        counted = not request.again
        answer = self.memory.get(namespace, key)
        if answer is not None:
            self.counts["memory"] += counted
            return answer, "memory"
        tier = "redis"
        if self.redis and content:
            answer = await self.redis.get(content.hash, key)
        if answer is None:
            tier, answer = "store", await read()
            if answer is None:
                self.counts["miss"] += counted
                return None
            await self._share(request, key, answer)
        self.counts[tier] += counted
        self.memory.put(namespace, key, answer)
        return answer, tier

    async def put(self, request: CallRequest, key: str, answer: CachedAnswer) -> None:
        """Copy an answer of the store into Redis and memory."""
        await self._share(request, key, answer)
        self.memory.put(request.namespace, key, answer)

    async def _share(self, request: CallRequest, key: str, answer: CachedAnswer) -> None:
        """Put an answer into Redis, if it belongs to the set whose hash it would be kept under."""
        content = request.content
        if self.redis and content and 0 < answer.id <= content.last_id:
            await self.redis.put(content.hash, key, answer)


class Recorded:
    """The layer that answers from recordings."""

    def __init__(self, tiers: Tiers, *, growing: bool = False) -> None:
        """Make the layer.

        Args:
            tiers: where recordings are.
            growing: whether answers recorded after a snapshot complete it, as in modes that keep new
                answers: a call keeps the first answer that it got.
        """
        self._tiers = tiers
        self._growing = growing

    async def answer(self, request: CallRequest) -> Answer | Decline:
        """The recorded answer, from the nearest tier that has it."""
        key = request.call.key
        hit = await self._tiers.get(request, lambda: self._read(request, key))
        if hit is None:
            return Decline(MISS, "The call has no recorded response.")
        answer, tier = hit
        return Answer(answer.body, answer.provenance, tier)

    async def _read(self, request: CallRequest, key: str) -> CachedAnswer | None:
        reader, snapshot = self._tiers.reader, request.snapshot
        if snapshot is None:
            return await reader.in_force(request.dataset.id, key)
        answer = await reader.in_snapshot(snapshot, key)
        if answer is None and self._growing:
            return await reader.after_snapshot(snapshot, key)
        return answer
