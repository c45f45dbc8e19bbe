"""The ledger of misses is bounded in calls and bytes, in memory and in the store, and says what it lost."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import string
import tracemalloc
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from serve_process import make_store, start
from stb_core.store import Store, misses, open_store
from stb_core.values import ToolCall
from stb_server.calls import CallRequest
from stb_server.pipeline import miss_ledger
from stb_server.worker.options import ServerOptions
from virtual_server import Running, put_weather, request, running

LONG = "x" * 200_000


async def ledger_of(server: Running) -> list[dict]:
    await server.worker.resources.ledger.flush()
    rows: list[dict] = (await server.client.get("/v1/misses")).json()["rows"]
    return rows


async def test_long_arguments_are_cut(store: Store, store_url: str) -> None:
    """Key and first kilobyte stay, so pages and store stay small; the same call is counted up."""
    await put_weather(store)
    async with running(ServerOptions(store_url, "weather")) as server:
        keys = [(await server.call(request({"city": LONG}))).headers["x-stb-key"] for _ in range(2)]
        (row,) = await ledger_of(server)

    assert (keys[0], 2) == (row["key"], row["count"])
    assert len(row["arguments"]) < 2_000
    ((name, text),) = json.loads(row["arguments"]).items()
    assert "first 1,024 of 200,011 bytes" == name
    assert text.startswith('{"city":"xxx')


async def test_short_arguments_stay_whole(store: Store, store_url: str) -> None:
    """Up to four kilobytes."""
    await put_weather(store)
    async with running(ServerOptions(store_url, "weather")) as server:
        await server.call(request({"city": "y" * 4_000}))
        (row,) = await ledger_of(server)

    assert {"city": "y" * 4_000} == json.loads(row["arguments"])


async def test_memory_is_bounded_in_bytes(
    sqlite_store: Store, sqlite_store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit while the store cannot be written is counted as lost, and room comes back."""
    monkeypatch.setattr(miss_ledger, "MAX_WAITING_BYTES", 5_000)
    await put_weather(sqlite_store)
    async with running(ServerOptions(sqlite_store_url, "weather", flush_interval_s=3600)) as server:
        for letter in string.ascii_lowercase:
            await server.call(request({"city": letter * 1_000}))
        lost = server.worker.resources.ledger.lost
        kept = await ledger_of(server)
        await server.call(request({"city": "later"}))
        later = await ledger_of(server)

    assert 26 == lost + len(kept)
    assert 0 < len(kept) <= 6
    assert len(kept) + 1 == len(later)


async def test_what_waits_takes_the_memory_that_is_counted(sqlite_store: Store) -> None:
    """Short arguments do not keep the buffers of kilobytes that they were written into."""
    dataset = await put_weather(sqlite_store)
    ledger = miss_ledger.MissLedger(sqlite_store, interval_s=3600)
    tracemalloc.start()
    try:
        for number in range(1000):
            ledger.add(CallRequest(dataset, ToolCall("Weather", "weather", "current", {"city": str(number)})))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 1000 == ledger.queued
    assert taken < 1000 * 1000


async def test_the_store_is_bounded(store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full ledger counts the calls that it has, and loses new ones aloud."""
    monkeypatch.setattr(misses, "MAX_MISSES", 3)
    await put_weather(store)
    async with running(ServerOptions(store_url, "weather")) as server:
        for city in ("a", "b", "c", "d", "e", "a"):
            await server.call(request({"city": city}))
        rows = await ledger_of(server)
        await server.call(request({"city": "a"}))
        again = await ledger_of(server)
        ready = (await server.client.get("/readyz")).json()["parts"]["miss_ledger"]

    assert 3 == len(rows) == len(again)
    assert sum(row["count"] for row in again) >= sum(row["count"] for row in rows)
    assert ("lost", 2) == (ready["status"], ready["lost"])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_lost_misses_exits_with_1(tmp_path: Path, workers: int) -> None:
    """Whoever started it learns that the ledger is not complete; answers were not affected."""
    url = make_store(tmp_path, "weather")

    async def refuse_misses() -> None:
        opened = await open_store(url)
        async with opened.writing() as connection:
            await connection.execute(
                sa.text(
                    "CREATE TRIGGER full BEFORE INSERT ON misses"
                    " BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
                )
            )
        await opened.close()

    asyncio.run(refuse_misses())
    process, served = start(url, "--dataset", "weather", "--workers", str(workers))
    answer = httpx.post(f"{served['url']}/virtual", json=request({"city": str(random.random())}), timeout=60)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)

    assert (200, 1) == (answer.status_code, process.returncode)
    assert "1 miss was lost" in err
