"""Redis gives a store only answers that this store holds, whatever other stores put there."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import httpx
import pytest
import redis.asyncio

import services
from conftest import REPOSITORY
from real_api import running_real_api
from stb_core.store import open_store
from stb_core.store.responses import Response
from stb_core.values import CacheMode
from stb_server.simulators import SimulatorOptions
from stb_server.worker.options import ServerOptions
from virtual_server import Running, put_weather, recorded, request, running

BONN = {"city": "Bonn"}
ROME = {"city": "Rome"}
DEMO_CALL = {
    "category": "Finance",
    "tool_name": "Coinage FX Rates",
    "api_name": "latest_rates",
    "tool_input": {"base": "CHF"},
    "strip": "",
    "toolbench_key": "",
}


def body(text: str) -> bytes:
    return b'{"error":"","response":"%s"}' % text.encode()


async def correct(store_url: str, dataset: str, response: Response, text: str) -> None:
    """Replace the answer of a call, as a loaded correction does."""
    store = await open_store(store_url)
    there = await store.datasets.get(dataset)
    await store.responses.keep(there.id, [replace(response, body=body(text))], supersede=True)
    await store.close()


async def record(store_url: str, *responses: Response) -> None:
    """Add answers to the dataset ``weather``, as another process does that records."""
    store = await open_store(store_url)
    await store.responses.keep((await store.datasets.get("weather")).id, responses)
    await store.close()


async def make_weather(folder: Path, *responses: Response) -> str:
    """A store with a small dataset; its URL."""
    url = f"sqlite:///{folder / 'first.db'}"
    store = await open_store(url)
    await put_weather(store, *responses)
    await store.close()
    return url


def copy_of(store_url: str, name: str) -> str:
    """A copy of a store that nobody uses, made as any file is copied; its URL."""
    path = Path(store_url.removeprefix("sqlite:///"))
    shutil.copyfile(path, path.with_name(name))
    return f"sqlite:///{path.with_name(name)}"


def without_memory(store_url: str, redis: services.Redis, dataset: str = "weather") -> ServerOptions:
    """Options of a server whose every answer comes from Redis or from the store."""
    return ServerOptions(store_url, dataset, redis_url=redis.url, memory_bytes=0, watch_interval_s=3600)


async def tier(server: Running, arguments: dict[str, str]) -> str:
    found: str = (await server.call(request(arguments))).headers["x-stb-cache"]
    return found


async def test_two_histories_of_one_backup(
    tmp_path: Path, redis_server: services.Redis, stb: Callable[..., CompletedProcess[str]]
) -> None:
    """A store that was rolled back and corrected in another way gives its own correction."""

    async def ask(store_url: str, text: str) -> httpx.Response:
        store = await open_store(store_url)
        dataset = await store.datasets.get("demo")
        refs = await store.responses.of_api(dataset.id, "Finance", "coinage_fx_rates", "latest_rates")
        await store.close()
        wanted = next(one for one in refs if one.arguments == b'{"base":"CHF"}')
        await correct(store_url, "demo", wanted, text)
        async with running(ServerOptions(store_url, "demo", redis_url=redis_server.url)) as server:
            return await server.client.post("/virtual", json=DEMO_CALL)

    urls = [f"sqlite:///{tmp_path / name}" for name in ("one.db", "two.db")]
    demo = REPOSITORY / "cache_dumps" / "demo"
    assert 0 == stb("data", "import", demo, "--name", "demo", env={"STB_DATABASE_URL": urls[0]}).returncode
    assert 0 == stb("backup", "before.db", env={"STB_DATABASE_URL": urls[0]}).returncode
    first = await ask(urls[0], "the first correction")
    assert 0 == stb("restore", "before.db", env={"STB_DATABASE_URL": urls[1]}).returncode
    second = await ask(urls[1], "the second correction")

    assert body("the first correction") == first.content
    assert body("the second correction") == second.content
    assert "store" == second.headers["x-stb-cache"]


@pytest.mark.parametrize("headers", [{}, {"x-stb-mode": "simulate"}])
async def test_what_a_copy_records_is_not_given_by_the_other(
    tmp_path: Path, redis_server: services.Redis, headers: dict[str, str]
) -> None:
    """Two stores, one copied from the other, are served at once: an answer of one is none of the other's."""
    first_url = await make_weather(tmp_path, recorded(BONN))
    second_url = copy_of(first_url, "second.db")
    async with (
        running(without_memory(first_url, redis_server)) as first,
        running(without_memory(second_url, redis_server)) as second,
    ):
        await record(first_url, recorded(ROME, body("rain")))

        ours = [await first.call(request(ROME), **headers) for _ in range(2)]
        theirs = await second.call(request(ROME), **headers)

    assert [body("rain")] * 2 == [answer.content for answer in ours]
    assert "miss" == theirs.headers["x-stb-cache"]


async def test_a_worker_that_lags_behind_shares_nothing_new(
    tmp_path: Path, redis_server: services.Redis
) -> None:
    """A correction that a worker has not noticed is not put among the answers of the state before."""
    first_url = await make_weather(tmp_path, recorded(BONN))
    second_url = copy_of(first_url, "second.db")
    async with running(without_memory(first_url, redis_server)) as first:
        await correct(first_url, "weather", recorded(BONN), "corrected")
        corrected = await first.call(request(BONN))
    async with running(without_memory(second_url, redis_server)) as second:
        before = await second.call(request(BONN))

    assert body("corrected") == corrected.content
    assert recorded(BONN).body == before.content


async def test_equal_stores_share(tmp_path: Path, redis_server: services.Redis) -> None:
    """What one server has read from its store another gets from Redis, where both hold the same."""
    first_url = await make_weather(tmp_path, recorded(BONN))
    second_url = copy_of(first_url, "second.db")
    async with running(without_memory(first_url, redis_server)) as first:
        ours = await tier(first, BONN)
    async with running(without_memory(second_url, redis_server)) as second:
        theirs = await tier(second, BONN)

    assert ("store", "redis") == (ours, theirs)


async def test_what_was_recorded_is_shared_once_there_is_much_of_it(
    tmp_path: Path, redis_server: services.Redis
) -> None:
    """One new answer in nine is read from the store; when there are two, all are shared by the new hash."""
    url = await make_weather(tmp_path, *(recorded({"city": f"Bonn {n}"}) for n in range(8)))
    async with running(without_memory(url, redis_server)) as server:
        await record(url, recorded(ROME))
        await server.worker.refresh_datasets()
        before = [await tier(server, ROME) for _ in range(2)]
        await record(url, recorded(BONN))
        await server.worker.refresh_datasets()
        after = [await tier(server, ROME) for _ in range(2)]

    assert ["store", "store"] == before
    assert ["store", "redis"] == after


@asynccontextmanager
async def redis_client(server: services.Redis) -> AsyncGenerator[redis.asyncio.Redis]:
    """Another program that uses this Redis."""
    client = redis.asyncio.Redis.from_url(server.url)
    try:
        yield client
    finally:
        await client.aclose()


async def names_by_text(client: redis.asyncio.Redis) -> dict[str, bytes]:
    """The names of the values in Redis, by what they answer."""
    found: dict[str, bytes] = {}
    for name in await client.keys("stb:*"):
        value = await client.get(name)
        found["sunny" if b"sunny" in value else "rain"] = name
    return found


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "a body that is empty": lambda value: value[:9],
    "half of it": lambda value: value[: len(value) // 2],
    "one bit changed": lambda value: value[:-3] + bytes([value[-3] ^ 1]) + value[-2:],
    "another origin": lambda value: value[:8] + b"s" + value[9:],
    "something behind it": lambda value: value + b" ",
    "the value of another program": lambda _: b"rHTTP/1.1 500",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
async def test_a_damaged_value_is_a_miss_and_is_replaced(
    tmp_path: Path, redis_server: services.Redis, damage: Callable[[bytes], bytes]
) -> None:
    """A value that no server wrote as it is does not reach a client: the store answers, and Redis is right again."""
    url = await make_weather(tmp_path, recorded(BONN))
    async with redis_client(redis_server) as client, running(without_memory(url, redis_server)) as server:
        await server.call(request(BONN))
        (name,) = (await names_by_text(client)).values()
        await client.set(name, damage(await client.get(name)))
        answers = [await server.call(request(BONN)) for _ in range(2)]
        metrics = (await server.client.get("/metrics")).text

    assert [recorded(BONN).body] * 2 == [answer.content for answer in answers]
    assert ["store", "redis"] == [answer.headers["x-stb-cache"] for answer in answers]
    assert 'stb_redis_events_total{event="damaged"} 1.0' in metrics


async def test_a_value_under_the_name_of_another_call_is_a_miss(
    tmp_path: Path, redis_server: services.Redis
) -> None:
    """A whole value counts only under its own name: of another call, or of another set of responses, it is foreign."""
    url = await make_weather(tmp_path, recorded(BONN), recorded(ROME, body("rain")))
    async with redis_client(redis_server) as client, running(without_memory(url, redis_server)) as server:
        for city in (BONN, ROME):
            await server.call(request(city))
        names = await names_by_text(client)
        await client.copy(names["rain"], names["sunny"], replace=True)
        answer = await server.call(request(BONN))

    assert (recorded(BONN).body, "store") == (answer.content, answer.headers["x-stb-cache"])


async def test_a_value_of_another_kind_is_a_miss(tmp_path: Path, redis_server: services.Redis) -> None:
    """A list under the name of an answer harms nobody."""
    url = await make_weather(tmp_path, recorded(BONN))
    async with redis_client(redis_server) as client, running(without_memory(url, redis_server)) as server:
        await server.call(request(BONN))
        (name,) = (await names_by_text(client)).values()
        await client.delete(name)
        await client.lpush(name, "x")  # type: ignore[misc]
        answers = [await tier(server, BONN) for _ in range(2)]

    assert ["store", "redis"] == answers


async def test_a_dataset_that_was_removed_and_made_again(
    tmp_path: Path, redis_server: services.Redis
) -> None:
    """A new dataset of an old name gives its own answers, also where it has as many as the old one."""
    url = await make_weather(tmp_path, recorded(BONN))
    async with running(without_memory(url, redis_server)) as server:
        before = await server.call(request(BONN))
    store = await open_store(url)
    await store.datasets.remove("weather")
    await put_weather(store, recorded(BONN, body("made again")))
    await store.close()
    async with running(without_memory(url, redis_server)) as server:
        after = await server.call(request(BONN))

    assert recorded(BONN).body == before.content
    assert (body("made again"), "store") == (after.content, after.headers["x-stb-cache"])


@pytest.mark.parametrize("mode", [mode for mode in CacheMode if mode.rules.reads])
@pytest.mark.parametrize("frozen", [False, True], ids=["in force", "snapshot"])
async def test_two_stores_that_went_apart(
    tmp_path: Path, redis_server: services.Redis, mode: CacheMode, frozen: bool
) -> None:
    """Two stores of one back-up, corrected differently and served at once, keep apart in every mode."""
    urls = [await make_weather(tmp_path, recorded(BONN))]
    urls.append(copy_of(urls[0], "second.db"))
    headers: list[dict[str, str]] = []
    for url, text in zip(urls, ("ours", "theirs"), strict=True):
        await correct(url, "weather", recorded(BONN), text)
        store = await open_store(url)
        snapshot = await store.snapshots.take((await store.datasets.get("weather")).id)
        await store.close()
        headers.append({"x-stb-mode": mode.value} | ({"x-stb-snapshot": snapshot.hash} if frozen else {}))
    async with running_real_api(tmp_path) as api:
        sources = {"upstream": api.config, "simulator": SimulatorOptions("template")}
        options = [replace(without_memory(url, redis_server), **sources) for url in urls]  # type: ignore[arg-type]
        async with running(options[0]) as first, running(options[1]) as second:
            found = [
                (await server.call(request(BONN), **header)).content
                for _ in range(2)
                for server, header in zip((first, second), headers, strict=True)
            ]

    assert [body("ours"), body("theirs")] * 2 == found
