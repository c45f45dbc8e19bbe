"""Recorded answers, nearest first: the worker's memory, then Redis, then the store.

Memory is a bounded LRU of the bytes that are sent. It and Redis hold only what the store holds;
both may be emptied at any moment and nothing is lost. In memory answers are kept under a ``space``, which
names a dataset in one state: when answers are taken out of force, or for a snapshot, it is another.

In Redis they are kept under the hash of all responses that the dataset held when it was opened. A copy of
the store, or one restored from a back-up, goes on in its own way under the same names and counts, but not
under the same hash. What was recorded after that moment belongs to another hash, and is not put there.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from stb_core.values.provenance import Provenance
from stb_server.cache.redis_tier import RedisCache
from stb_server.cache.store_reader import Found, Reader
from stb_server.calls.answers import Answer, CallRequest, Decline
from stb_server.calls.protocol import MISS

# What an entry costs beside its body: key, objects, and its place in the index.
_OVERHEAD_BYTES = 500

# How an answer that was made or fetched earlier is called when it is served again.
_SERVED_AS = {Provenance.SIMULATED: Provenance.RECORDED_SIMULATED, Provenance.LIVE: Provenance.RECORDED}


class Entry(NamedTuple):
    """One recorded answer as it is served; the last two fields are ready for the response's head."""

    body: bytes
    provenance: Provenance
    length_header: bytes
    provenance_header: bytes

    @classmethod
    def of(cls, body: bytes, provenance: Provenance) -> Entry:
        """The entry of a recorded answer, its provenance as recorded."""
        served = _SERVED_AS.get(provenance, provenance)
        return cls(body, served, str(len(body)).encode(), served.encode())


class MemoryCache:
    """An LRU of entries that holds at most ``max_bytes``."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._entries: OrderedDict[tuple[str, str], Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, space: str, key: str) -> Entry | None:
        """The entry, or None."""
        place = space, key
        entry = self._entries.get(place)
        if entry is not None:
            self._entries.move_to_end(place)
        return entry

    def put(self, space: str, key: str, entry: Entry) -> None:
        """Keep an entry, and drop those used longest ago until there is room."""
        if len(entry.body) + _OVERHEAD_BYTES > self.max_bytes:
            return
        place = space, key
        old = self._entries.pop(place, None)
        if old is not None:
            self.size_bytes -= len(old.body) + _OVERHEAD_BYTES
        self._entries[place] = entry
        self.size_bytes += len(entry.body) + _OVERHEAD_BYTES
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
        """Look-ups that were answered by ``memory``, ``redis``, ``store``, or by none: ``miss``."""

    async def get(
        self, asked: CallRequest, read: Callable[[], Awaitable[Found | None]]
    ) -> tuple[Entry, str] | None:
        """The answer to a call and the tier that had it; ``read`` asks the store.

        Raises:
            StoreError: the store had to be asked and does not answer.
        """
        space, key, content, counted = asked.space, asked.call.key, asked.content, not asked.again
        entry = self.memory.get(space, key)
        if entry is not None:
            self.counts["memory"] += counted
            return entry, "memory"
        tier, found = "redis", await self.redis.get(content.hash, key) if self.redis and content else None
        if found is None:
            tier, found = "store", await read()
            if found is None:
                self.counts["miss"] += counted
                return None
            await self._share(asked, key, found)
        self.counts[tier] += counted
        entry = Entry.of(found.body, found.provenance)
        self.memory.put(space, key, entry)
        return entry, tier

    async def put(self, asked: CallRequest, key: str, found: Found) -> None:
        """Copy what the store holds into Redis and memory."""
        await self._share(asked, key, found)
        self.memory.put(asked.space, key, Entry.of(found.body, found.provenance))

    async def _share(self, asked: CallRequest, key: str, found: Found) -> None:
        """Put an answer into Redis, if it is among those whose hash it would be kept under."""
        content = asked.content
        if self.redis and content and 0 < found.id <= content.last_id:
            await self.redis.put(content.hash, key, found)


class Recorded:
    """The layer that answers from recordings."""

    def __init__(self, tiers: Tiers, *, growing: bool = False) -> None:
        """Make the layer.

        Args:
            tiers: where recordings are.
            growing: whether a snapshot is completed by what was recorded after it, as in modes that
                record: a call keeps the first answer that it got.
        """
        self._tiers = tiers
        self._growing = growing

    async def answer(self, asked: CallRequest) -> Answer | Decline:
        """The recorded answer, from the nearest tier that has it."""
        key = asked.call.key
        found = await self._tiers.get(asked, lambda: self._read(asked, key))
        if found is None:
            return Decline(MISS, "The call has no recorded response.")
        entry, tier = found
        return Answer(entry.body, entry.provenance, tier)

    async def _read(self, asked: CallRequest, key: str) -> Found | None:
        reader, snapshot = self._tiers.reader, asked.snapshot
        if snapshot is None:
            return await reader.in_force(asked.dataset.id, key)
        found = await reader.in_snapshot(snapshot, key)
        if found is None and self._growing:
            return await reader.after_snapshot(snapshot, key)
        return found
