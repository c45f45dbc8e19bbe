"""Redis gives a store only answers that this store holds, whatever other stores put there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import httpx
import pytest

import services
from conftest import REPOSITORY
from stb_core.store import open_store
from stb_core.store.responses import Response
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
