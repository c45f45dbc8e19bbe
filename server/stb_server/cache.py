"""Recorded answers, nearest first: the worker's memory, then the store.

Memory is a bounded LRU of the bytes that are sent. It holds only what the store holds; it may be
emptied at any moment and nothing is lost.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from stb_core.provenance import Provenance
from stb_server.pipeline import Answer, Asked, Decline
from stb_server.reader import Reader
from stb_server.wire import MISS

# What an entry costs beside its body: key, objects, and its place in the index.
_OVERHEAD_BYTES = 500

# How an answer that was made or fetched earlier is called when it is served again.
_SERVED_AS = {Provenance.SIMULATED: Provenance.RECORDED_SIMULATED, Provenance.LIVE: Provenance.RECORDED}


class Cache(Protocol):
    """Keeps entries by dataset and key, for as long as it likes."""

    def get(self, space: int, key: str) -> Entry | None:
        """The entry, or None."""
        ...

    def put(self, space: int, key: str, entry: Entry) -> None:
        """Keep an entry."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
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
        self._entries: OrderedDict[tuple[int, str], Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, space: int, key: str) -> Entry | None:
        """The entry, or None."""
        place = space, key
        entry = self._entries.get(place)
        if entry is not None:
            self._entries.move_to_end(place)
        return entry

    def put(self, space: int, key: str, entry: Entry) -> None:
        """Keep an entry, and drop those used longest ago until there is room."""
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


class Recorded:
    """The layer that answers from recordings."""

    def __init__(self, memory: MemoryCache, reader: Reader) -> None:
        self._memory = memory
        self._reader = reader

    async def answer(self, asked: Asked) -> Answer | Decline:
        """The answer in force, from the nearest tier that has it."""
        dataset_id, key = asked.dataset.id, asked.call.key
        entry = self._memory.get(dataset_id, key)
        if entry is not None:
            return Answer(entry.body, entry.provenance, "memory")
        found = await self._reader.get(dataset_id, key)
        if found is None:
            return Decline(MISS, "The call has no recorded response.")
        entry = Entry.of(found.body, found.provenance)
        self._memory.put(dataset_id, key, entry)
        return Answer(entry.body, entry.provenance, "store")
