"""What is kept of a new answer takes as much memory as the cache counts."""

from __future__ import annotations

import gc
import tracemalloc

import sim_world
from stb_core import json_text
from stb_core.store import Store
from stb_core.values import Provenance
from stb_core.values.provenance import Replacing
from stb_server.cache import MemoryCache, StoreWriter, Tiers, open_reader
from stb_server.cache.keep import AnswerKeeper
from stb_server.calls import Answer, CallRequest

ANSWERS = 300


async def test_new_answers_take_the_memory_that_is_counted(sqlite_store: Store) -> None:
    """Their bodies come in larger buffers than they need; the cache would hold several times its limit."""
    dataset = await sim_world.build(sqlite_store)
    memory, writer = MemoryCache(10**7), StoreWriter(sqlite_store, timeout_s=20)
    reader = await open_reader(sqlite_store)

    async def replaced() -> None:
        raise AssertionError

    keeper = AnswerKeeper(writer, Tiers(memory, None, reader), Replacing.NOTHING, replaced)

    async def keep(title: str) -> None:
        call = sim_world.call("search", title=title)
        body = json_text.encode(sim_world.film(title, 2000))
        await keeper.keep(CallRequest(dataset, call, namespace="films"), Answer(body, Provenance.SIMULATED))

    for number in range(20):  # the statements are compiled with the first
        await keep(f"first {number}")
    gc.collect()
    tracemalloc.start()
    try:
        counted = memory.size_bytes
        for number in range(ANSWERS):
            await keep(f"film {number}")
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    await writer.close()
    await reader.close()

    assert ANSWERS + 20 == len(memory)
    assert taken < 2 * (memory.size_bytes - counted)
