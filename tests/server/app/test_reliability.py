"""Nothing acknowledged is lost and nothing is fetched twice, whatever dies, and answers go on."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

import services
from conftest import clean_environment
from real_api import RealApi, running_real_api
from stb_core.store import Store, open_store
from stb_core.values.provenance import CacheMode
from stb_server.worker.options import ServerOptions
from virtual_server import Running, eventually, put_weather, recorded, request, running

pytestmark = pytest.mark.linux

BONN = {"city": "Bonn"}
SUNNY = recorded(BONN)
STB = "-m", "stb_core.cli"
# A Redis that does not answer in time counts as down, and then each worker fetches for itself. On a busy
# machine that is no sign of a defect.
PATIENT = """
import functools
from stb_core.cli import main
from stb_server.app import process
process.replace = functools.partial(process.replace, redis_timeout_s=60)  # of the options
main()
"""


def command_line(pid: str) -> bytes:
    """How a process was started; nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@dataclass
class Served:
    """A server in processes of its own."""

    process: asyncio.subprocess.Process
    url: str

    def workers(self) -> list[int]:
        """Its worker processes; itself if it has none."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        found = [int(pid) for pid in children if b"spawn_main" in command_line(pid)]
        return found or [self.process.pid]


@asynccontextmanager
async def served(
    store_url: str, api: RealApi, *options: str, port: int = 0, program: Sequence[str] = STB
) -> AsyncGenerator[Served]:
    """``stb serve --mode auto`` until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *program, "serve", "--json", "--port", str(port)),
        *("--mode", "auto", "--upstream", str(api.config), *options),
        env=clean_environment(STB_DATABASE_URL=store_url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout
    try:
        ready = json.loads(await process.stdout.readline())
        yield Served(process, ready["url"])
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.fixture
async def api(tmp_path: Path) -> AsyncGenerator[RealApi]:
    async with running_real_api(tmp_path) as started:
        yield started


async def call(client: httpx.AsyncClient, arguments: dict) -> httpx.Response:
    return await client.post("/virtual", json=request(arguments))


async def test_two_workers_keep_everything_and_fetch_nothing_twice(
    store: Store, store_url: str, api: RealApi, request: pytest.FixtureRequest
) -> None:
    """200 identical misses are one call of the real API with one body; 64 different ones are all kept.

    With SQLite the workers have nothing but the store in common, with PostgreSQL also a Redis.
    """
    await put_weather(store)
    options = ["--workers", "2"]
    if not store.is_sqlite:
        options += ["--redis-url", request.getfixturevalue("redis_server").url]
    api.delay_s = 0.3
    async with served(store_url, api, *options, program=("-c", PATIENT)) as server:
        # A connection of its own for each call: the kernel spreads them over the workers.
        limits = httpx.Limits(max_connections=300, max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=60) as client:
            same = await asyncio.gather(*(call(client, BONN) for _ in range(200)))
            calls_for_same = api.total
            others = await asyncio.gather(*(call(client, {"n": n}) for n in range(64)))
            metrics = (await client.get("/metrics")).text

    assert 1 == calls_for_same
    assert 1 == len({answer.content for answer in same})
    assert {200} == {answer.status_code for answer in [*same, *others]}
    dataset = await store.datasets.get("weather")
    assert 65 == dataset.responses_count
    for n, answer in enumerate(others):
        kept = await store.responses.get(dataset.id, recorded({"n": n}).key)
        assert kept
        assert answer.content == kept.body
    assert "stb_workers 2.0" in metrics
    assert ("stb_redis_up 2.0" in metrics) is not store.is_sqlite


async def kill_and_look(store_url: str, api: RealApi, kills: int) -> None:
    """Record under load, kill a worker at a random moment, many times; then look for what was said."""
    rng = random.Random(7)
    acknowledged: dict[int, bytes] = {}
    number = 0
    stopping = False

    async def record(client: httpx.AsyncClient) -> None:
        nonlocal number
        while not stopping:
            number += 1
            mine = number
            try:
                answer = await call(client, {"n": mine})
            except httpx.TransportError:
                continue
            if answer.status_code == 200 and answer.headers["x-stb-provenance"] == "live":
                acknowledged[mine] = answer.content

    async def progress() -> None:
        before = len(acknowledged)
        await eventually(lambda: len(acknowledged) > before, seconds=120)

    async with (
        served(store_url, api, "--workers", "2") as server,
        httpx.AsyncClient(base_url=server.url, timeout=30) as client,
    ):
        tasks = [asyncio.create_task(record(client)) for _ in range(8)]
        for _ in range(kills):
            await progress()
            await asyncio.sleep(rng.uniform(0.05, 0.6))
            await eventually(lambda: len(server.workers()) == 2)
            os.kill(rng.choice(server.workers()), signal.SIGKILL)
        await progress()
        stopping = True
        await asyncio.gather(*tasks)

    store = await open_store(store_url)
    dataset = await store.datasets.get("weather")
    assert len(acknowledged) > kills
    for mine, body in acknowledged.items():
        kept = await store.responses.get(dataset.id, recorded({"n": mine}).key)
        assert kept
        assert body == kept.body
    everything = await store.responses.of_api(dataset.id, "Weather", "sky_watch", "current")
    await store.close()
    assert dataset.responses_count == len(everything)
    assert all(json.loads(response.body)["error"] == "" for response in everything)


async def test_a_killed_worker_loses_nothing_acknowledged(store: Store, store_url: str, api: RealApi) -> None:
    """After SIGKILL at random moments every acknowledged answer is there, byte for byte, and whole."""
    await put_weather(store)

    await kill_and_look(store_url, api, kills=3)


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_two_hundred_killed_workers_lose_nothing(store: Store, store_url: str, api: RealApi) -> None:
    """The long form."""
    await put_weather(store)

    await kill_and_look(store_url, api, kills=200)


@pytest.fixture
async def with_redis(
    sqlite_store: Store, sqlite_store_url: str, redis_server: services.Redis, api: RealApi
) -> AsyncGenerator[Running]:
    """A server without memory, so that every answer comes from Redis or the store."""
    await put_weather(sqlite_store, SUNNY, *(recorded({"n": n}) for n in range(50)))
    options = ServerOptions(
        sqlite_store_url,
        "weather",
        CacheMode.AUTO,
        redis_url=redis_server.url,
        upstream=api.config,
        memory_bytes=0,
        redis_timeout_s=2.0,
    )
    async with running(options) as server:
        yield server


async def tier(server: Running, arguments: dict) -> str:
    answer = await server.call(request(arguments))
    assert answer.status_code == 200, answer.text
    found: str = answer.headers["x-stb-cache"]
    return found


async def state(server: Running) -> str:
    found: str = (await server.client.get("/readyz")).json()["parts"]["redis"]["status"]
    return found


async def until(server: Running, wanted: str) -> None:
    async def reached() -> bool:
        return await state(server) == wanted

    await eventually(reached)


async def test_redis_answers_what_was_asked_before(with_redis: Running) -> None:
    """The first time from the store, then from Redis, with the same bytes and provenance."""
    first, second = [await with_redis.call(request(BONN)) for _ in range(2)]

    assert ("store", "redis") == (first.headers["x-stb-cache"], second.headers["x-stb-cache"])
    assert SUNNY.body == first.content == second.content
    assert "recorded" == second.headers["x-stb-provenance"]


async def test_redis_gone_and_restarted(
    with_redis: Running, redis_server: services.Redis, sqlite_store: Store
) -> None:
    """Answers go on from the store, new ones are kept, and it is used again when it is back, empty."""
    await tier(with_redis, BONN)
    redis_server.kill()
    during = [await tier(with_redis, BONN), await tier(with_redis, {"city": "Rome"})]
    states = [await state(with_redis)]
    redis_server.start()
    await until(with_redis, "ok")
    after = [await tier(with_redis, BONN) for _ in range(2)]

    assert ["store", "miss"] == during
    assert ["down"] == states
    assert ["store", "redis"] == after
    assert 52 == (await sqlite_store.datasets.get("weather")).responses_count
    metrics = (await with_redis.client.get("/metrics")).text
    assert 'stb_redis_events_total{event="connected"} 2.0' in metrics
    assert "stb_redis_up 1.0" in metrics


async def test_redis_slow(with_redis: Running, redis_server: services.Redis) -> None:
    """The calls of one moment wait for its timeout, all others not; it is used again when it answers."""
    await tier(with_redis, BONN)
    redis_server.pause()
    started = time.monotonic()
    tiers = await asyncio.gather(*(tier(with_redis, {"n": n}) for n in range(50)))
    first_s = time.monotonic() - started
    started = time.monotonic()
    tiers += [await tier(with_redis, {"n": n}) for n in range(20)]
    later_s = time.monotonic() - started
    down = await state(with_redis)
    redis_server.resume()
    await until(with_redis, "ok")

    assert {"store"} == set(tiers)
    assert first_s < 50, "they waited together, and not one after the other"
    assert later_s < 20, "they did not wait"
    assert "down" == down


async def test_redis_full(with_redis: Running, redis_server: services.Redis, sqlite_store: Store) -> None:
    """What it refuses to keep is served from the store; the server says that it is full."""
    await with_redis.worker.resources.redis.call(b"CONFIG", b"SET", b"maxmemory", b"1")  # type: ignore[union-attr]

    tiers = [await tier(with_redis, BONN) for _ in range(2)] + [await tier(with_redis, {"city": "Rome"})]
    full = await state(with_redis)
    await with_redis.worker.resources.redis.call(b"CONFIG", b"SET", b"maxmemory", b"0")  # type: ignore[union-attr]
    tiers += [await tier(with_redis, BONN) for _ in range(2)]

    assert ["store", "store", "miss", "store", "redis"] == tiers
    assert "full" == full
    assert "ok" == await state(with_redis)
    assert 52 == (await sqlite_store.datasets.get("weather")).responses_count


async def test_two_stores_may_share_one_redis(
    tmp_path: Path, redis_server: services.Redis, sqlite_store: Store, sqlite_store_url: str
) -> None:
    """The same call of two stores' datasets of the same name and number is two answers."""
    await put_weather(sqlite_store, SUNNY)
    other_url = f"sqlite:///{tmp_path / 'other.db'}"
    other = await open_store(other_url)
    rain = recorded(BONN, b'{"error":"","response":"rain"}')
    await put_weather(other, rain)
    await other.close()
    bodies = []
    for url in (sqlite_store_url, other_url):
        options = ServerOptions(url, "weather", redis_url=redis_server.url, memory_bytes=0)
        async with running(options) as server:
            bodies += [(await server.call(request(BONN))).content for _ in range(2)]

    assert [SUNNY.body, SUNNY.body, rain.body, rain.body] == bodies


async def test_the_database_gone(postgres_server: services.Postgres, postgres_url: str, api: RealApi) -> None:
    """What memory holds is answered; a call that needs a read or a write is refused with 503, not forgotten."""
    store = await open_store(postgres_url)
    await put_weather(store, SUNNY)
    await store.close()
    options = ServerOptions(
        postgres_url, "weather", CacheMode.AUTO, upstream=api.config, watch_interval_s=0.1, write_timeout_s=2
    )
    async with running(options) as server:
        await server.call(request(BONN))
        postgres_server.stop("immediate")
        try:
            hit = await server.call(request(BONN))
            new = await server.call(request({"city": "Rome"}))
            ready = await server.client.get("/readyz")
            alive = await server.client.get("/healthz")
        finally:
            postgres_server.start()

        async def back() -> bool:
            return (await server.call(request({"city": "Rome"}))).status_code == 200

        await eventually(back)
        again = await server.call(request({"city": "Rome"}))
        ready_again = await server.client.get("/readyz")

    assert (200, SUNNY.body) == (hit.status_code, hit.content)
    assert (503, "store_unavailable") == (new.status_code, new.headers["x-stb-error"])
    assert {"error", "response"} == new.json().keys()
    assert (503, 200, 200) == (ready.status_code, alive.status_code, ready_again.status_code)
    assert "recorded" == again.headers["x-stb-provenance"]
