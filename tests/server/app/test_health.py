"""``/readyz`` answers whatever hangs, and tells of writes that fail before a call meets them."""

from __future__ import annotations

import asyncpg
import pytest
import sqlalchemy as sa

from stb_core.store import Store, open_store
from stb_core.values import CacheMode
from stb_server.simulators import SimulatorOptions
from stb_server.worker import store_health
from stb_server.worker.options import ServerOptions
from virtual_server import put_weather, recorded, request, running

NO_WRITES = "CREATE TRIGGER no_writes BEFORE INSERT ON leases BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check may take as long as it needs on a busy machine."""
    monkeypatch.setattr(store_health, "ANSWER_S", 60.0)


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize(
    ("mode", "status", "word"), [("replay", 200, "degraded"), ("auto", 503, "not ready")]
)
async def test_failing_writes(
    sqlite_store: Store, sqlite_store_url: str, mode: str, status: int, word: str
) -> None:
    """A server that only reads is degraded; one that records is not ready; both say why, and so do the metrics."""
    await put_weather(sqlite_store, recorded({"city": "Bonn"}))
    async with sqlite_store.writing() as connection:
        await connection.execute(sa.text(NO_WRITES))
    options = ServerOptions(
        sqlite_store_url, "weather", mode=CacheMode(mode), simulator=SimulatorOptions("template")
    )

    async with running(options) as server:
        ready = await server.client.get("/readyz")
        metrics = (await server.client.get("/metrics")).text
        recorded_call = await server.call(request({"city": "Bonn"}))

    assert (status, word) == (ready.status_code, ready.json()["status"])
    assert "failing" == ready.json()["parts"]["writes"]["status"]
    assert "is full" in ready.json()["parts"]["writes"]["reason"]
    assert "stb_store_writable 0.0" in metrics
    assert "stb_store_readable 1.0" in metrics
    assert 200 == recorded_call.status_code


@pytest.mark.usefixtures("patience")
async def test_writes_that_work_again(sqlite_store: Store, sqlite_store_url: str) -> None:
    """The next check sees it."""
    await put_weather(sqlite_store)
    async with sqlite_store.writing() as connection:
        await connection.execute(sa.text(NO_WRITES))
    async with running(ServerOptions(sqlite_store_url, "weather")) as server:
        before = (await server.client.get("/readyz")).json()["status"]
        async with sqlite_store.writing() as connection:
            await connection.execute(sa.text("DROP TRIGGER no_writes"))
        after = (await server.client.get("/readyz")).json()["status"]

    assert ("degraded", "ready") == (before, after)


async def test_a_database_that_hangs(postgres_url: str) -> None:
    """A table that is locked stands for a database that is frozen: the answer comes all the same."""
    store = await open_store(postgres_url)
    await put_weather(store)
    await store.close()
    async with running(ServerOptions(postgres_url, "weather")) as server:
        blocker = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
        try:
            async with blocker.transaction():
                await blocker.execute("LOCK TABLE datasets IN ACCESS EXCLUSIVE MODE")
                ready = await server.client.get("/readyz")
                alive = await server.client.get("/healthz")
        finally:
            await blocker.close()

    assert (503, 200) == (ready.status_code, alive.status_code)
    assert "did not answer" in ready.json()["parts"]["store"]["reason"]
