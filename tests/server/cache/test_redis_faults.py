"""Whatever is wrong with Redis, answers are the recorded ones, nothing new is lost, and the health page tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import services
from real_api import RealApi, running_real_api
from stb_core.store import Store
from stb_core.values.provenance import CacheMode
from stb_server.cache.redis_connection import RedisLink
from stb_server.cache.store_writer import StoreWriter
from stb_server.pipeline.fetch_locks import RedisLocks, StoreLocks, holding
from stb_server.worker.options import ServerOptions
from virtual_server import Running, eventually, put_weather, recorded, request, running

BONN = {"city": "Bonn"}
SUNNY = recorded(BONN)


@dataclass(frozen=True)
class Fault:
    """What is done to Redis, and what is seen of it."""

    harm: Callable[[services.Redis], None]
    state: str
    """What ``/readyz`` says of Redis while it lasts."""
    mend: Callable[[services.Redis], None]


def execute(*commands: str) -> Callable[[services.Redis], None]:
    """Send commands, each a line."""

    def run(redis: services.Redis) -> None:
        for command in commands:
            redis.execute(*command.split())

    return run


def other_password(redis: services.Redis) -> None:
    """It wants a password from whoever comes now."""
    redis.execute("CONFIG", "SET", "requirepass", "other")
    redis.execute("-a", "other", "CLIENT", "KILL", "TYPE", "normal")


def no_password(redis: services.Redis) -> None:
    """It wants none."""
    redis.execute("-a", "other", "CONFIG", "SET", "requirepass", "")


def killed(redis: services.Redis) -> None:
    """It is gone with all that it held."""
    redis.kill()


def started(redis: services.Redis) -> None:
    """It is there again, empty."""
    redis.start()


FAULTS = {
    "out of memory": Fault(
        execute("FLUSHALL", "CONFIG SET maxmemory-policy noeviction", "CONFIG SET maxmemory 1"),
        "full",
        execute("CONFIG SET maxmemory 0"),
    ),
    "a replica that takes no writes": Fault(
        execute("FLUSHALL", "REPLICAOF 127.0.0.1 9"), "full", execute("REPLICAOF NO ONE")
    ),
    "another password": Fault(other_password, "down", no_password),
    "killed": Fault(killed, "down", started),
}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncGenerator[RealApi]:
    """A real API."""
    async with running_real_api(tmp_path) as running_api:
        yield running_api


@asynccontextmanager
async def serving(url: str, api: RealApi, redis_url: str) -> AsyncGenerator[Running]:
    """A server without memory, so that every answer comes from Redis or the store."""
    options = ServerOptions(
        url,
        "weather",
        CacheMode.AUTO,
        redis_url=redis_url,
        upstream=api.config,
        memory_bytes=0,
        redis_timeout_s=2.0,
    )
    async with running(options) as server:
        yield server


async def state(server: Running) -> str:
    """What the health page says of Redis."""
    found: str = (await server.client.get("/readyz")).json()["parts"]["redis"]["status"]
    return found


async def until(server: Running, wanted: str) -> None:
    """Wait until the health page says so; a call shows it what a write does."""

    async def reached() -> bool:
        assert SUNNY.body == (await server.call(request(BONN))).content
        return await state(server) == wanted

    await eventually(reached)


@pytest.mark.parametrize("fault", FAULTS)
async def test_answers_go_on(
    fault: str, sqlite_store: Store, sqlite_store_url: str, redis_server: services.Redis, api: RealApi
) -> None:
    """The recorded answer, byte for byte; a new one is fetched once and kept; afterwards all is as before."""
    await put_weather(sqlite_store, SUNNY)
    async with serving(sqlite_store_url, api, redis_server.url) as server:
        await until(server, "ok")
        await asyncio.to_thread(FAULTS[fault].harm, redis_server)
        await until(server, FAULTS[fault].state)
        rome = await asyncio.gather(*(server.call(request({"city": "Rome"})) for _ in range(8)))
        ready = (await server.client.get("/readyz")).status_code
        await asyncio.to_thread(FAULTS[fault].mend, redis_server)
        await until(server, "ok")
        tiers = [(await server.call(request(BONN))).headers["x-stb-cache"] for _ in range(2)]

    assert (200, {200}) == (ready, {answer.status_code for answer in rome})
    assert (1, 1) == (api.total, len({answer.content for answer in rome}))
    assert "redis" == tiers[1]
    dataset = await sqlite_store.datasets.get("weather")
    kept = await sqlite_store.responses.get(dataset.id, recorded({"city": "Rome"}).key)
    assert kept
    assert kept.body == rome[0].content


async def test_a_slow_one_is_waited_for(
    sqlite_store: Store, sqlite_store_url: str, redis_server: services.Redis, api: RealApi
) -> None:
    """Replies that take 200 ms are used, and many at once take no longer than one."""
    await put_weather(sqlite_store, *(recorded({"n": n}) for n in range(20)))
    async with (
        slow(redis_server.port, 0.2) as port,
        serving(sqlite_store_url, api, f"redis://127.0.0.1:{port}/0") as server,
    ):
        await eventually(lambda: server.worker.resources.redis.is_up)  # type: ignore[union-attr]
        first = [await server.call(request({"n": n})) for n in range(2)]
        again = await asyncio.gather(*(server.call(request({"n": n})) for n in range(2)))
        found = await state(server)

    assert [answer.content for answer in first] == [answer.content for answer in again]
    assert {"redis"} == {answer.headers["x-stb-cache"] for answer in again}
    assert "ok" == found


@asynccontextmanager
async def slow(port: int, delay_s: float) -> AsyncGenerator[int]:
    """The port of a relay that passes on what Redis says later."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_redis, to_redis = await asyncio.open_connection("127.0.0.1", port)

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, wait_s: float) -> None:
            with suppress(OSError, asyncio.CancelledError):
                while data := await source.read(65536):
                    await asyncio.sleep(wait_s)
                    target.write(data)
            target.close()

        await asyncio.gather(pump(reader, to_redis, 0), pump(from_redis, writer, delay_s))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_values_of_others_under_our_names(
    sqlite_store: Store, sqlite_store_url: str, redis_server: services.Redis, api: RealApi
) -> None:
    """Text, lists and numbers where an answer or a lock should be: the store answers, and nobody waits for ever."""
    await put_weather(sqlite_store, SUNNY)
    async with serving(sqlite_store_url, api, redis_server.url) as server:
        await until(server, "ok")
        link = server.worker.resources.redis
        assert link
        names: Any = await link.call(b"KEYS", b"stb:2:*")
        for spoil in ((b"SET", b"x"), (b"SET", b""), (b"SET", b"5"), (b"LPUSH", b"x"), (b"HSET", b"a", b"b")):
            for name in names:
                await link.call(b"DEL", name)
                await link.call(spoil[0], name, *spoil[1:])
            assert SUNNY.body == (await server.call(request(BONN))).content

    assert names


@pytest.mark.parametrize(
    "value", [(b"SET", b"of another program"), (b"LPUSH", b"x"), (b"SET", b"x", b"PX", b"9999999")]
)
async def test_a_lock_that_nobody_holds(
    value: tuple[bytes, ...], sqlite_store: Store, redis_server: services.Redis
) -> None:
    """A value without an end, of another kind, or from a clock that is wrong keeps nobody waiting."""
    link = RedisLink(redis_server.url, 5)
    await link.start()
    writer = StoreWriter(sqlite_store, timeout_s=20)
    locks = RedisLocks(link, StoreLocks(sqlite_store, writer))
    await link.call(value[0], b"stb:lock:call", *value[1:])

    async with asyncio.timeout(60), holding(locks, "call"):
        taken = await locks.take("call", "another")

    assert not taken, "it is held"
    await link.close()
    await writer.close()
