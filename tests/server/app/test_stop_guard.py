"""A server that is told to stop while a call is under way ends by itself, and the client learns why."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

import services
import sim_world
from conftest import clean_environment
from raw_server import Heard, RawServer, running_raw_server
from stb_core.errors import StoreError
from stb_core.store import Store, open_store, schema
from stb_core.values.queries import Query
from stb_core.values.tools import ApiRef
from stb_server.cache.store_writer import StoreWriter
from stb_server.pipeline.fetch_locks import StoreLocks
from stb_server.pipeline.single_flight import SingleFlight
from virtual_server import eventually

QUERY = Query(
    query_id="1",
    group="G1",
    text="Which film?",
    apis=(ApiRef("Movies", sim_world.FILMS.standard_name, "search"),),
)
SERVE = "from stb_server.app import process; process.GRACE_S = {grace}; from stb_core.cli import main; main()"


def search(title: str) -> dict[str, str]:
    return {
        "category": "Movies",
        "tool_name": sim_world.FILMS.tool_name,
        "api_name": "search",
        "tool_input": json.dumps({"title": title}),
        "strip": "",
        "toolbench_key": "",
    }


@pytest.fixture
async def model() -> AsyncGenerator[RawServer]:
    """An endpoint that takes a request and thinks about it for an hour."""

    async def think(_: Heard, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    async with running_raw_server() as server:
        server.paths["/v1/chat/completions"] = think
        yield server


@asynccontextmanager
async def serving(
    store_url: str, model: RawServer, *options: str, grace: float = 1
) -> AsyncGenerator[tuple[Process, str]]:
    """``stb serve`` with a simulator, which waits so many seconds for calls under way; and its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVE.format(grace=grace), "serve", "--port", "0", "--json"),
        *("--mode", "simulate", "--simulator", "llm", "--simulator-model", "stub/any"),
        *("--proxy", "stub", *options),
        env=clean_environment(
            STB_DATABASE_URL=store_url, STUB_BASE_URL=f"{model.url}/v1", STUB_API_KEY="sk-test"
        ),
        stdout=PIPE,
        stderr=PIPE,
    )
    assert process.stdout
    try:
        yield process, json.loads(await process.stdout.readline())["url"]
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def heard(model: RawServer, requests: int = 1) -> None:
    """Return when the model has been asked so often."""
    await eventually(lambda: len(model.heard) >= requests, seconds=120)


async def ended(process: Process) -> str:
    """What it wrote on stderr before it ended by itself."""
    async with asyncio.timeout(240):
        _, err = await process.communicate()
    return err.decode()


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_while_a_model_thinks(
    store: Store, store_url: str, model: RawServer, workers: str, stop: signal.Signals
) -> None:
    """The client gets 503 and may ask again; no lock stays behind, and nothing looks like a crash."""
    await sim_world.build(store)
    async with (
        serving(store_url, model, "--workers", workers) as (process, url),
        httpx.AsyncClient(base_url=url, timeout=240) as client,
    ):
        asking = asyncio.create_task(client.post("/virtual", json=search("Metropolis")))
        await heard(model)
        process.send_signal(stop)
        answer, err = await asyncio.gather(asking, ended(process))

    assert (503, "stopping") == (answer.status_code, answer.headers["x-stb-error"])
    assert "The server is stopping" in answer.json()["error"]
    assert 0 == process.returncode
    assert "Traceback" not in err
    async with store.reading() as connection:
        assert 0 == await connection.scalar(sa.select(sa.func.count()).select_from(schema.leases))


async def test_locks_in_redis_are_given_back_too(
    sqlite_store: Store, sqlite_store_url: str, model: RawServer, redis_server: services.Redis
) -> None:
    """Another server asks the model at once."""
    await sim_world.build(sqlite_store)
    options = "--redis-url", redis_server.url
    for requests in (1, 2):
        async with (
            serving(sqlite_store_url, model, *options) as (process, url),
            httpx.AsyncClient(base_url=url, timeout=240) as client,
        ):
            asking = asyncio.create_task(client.post("/virtual", json=search("Metropolis")))
            await heard(model, requests)
            process.terminate()
            answer, err = await asyncio.gather(asking, ended(process))

        assert (503, 0, False) == (answer.status_code, process.returncode, "Traceback" in err)


async def test_calls_of_episodes_and_of_models_get_503_too(
    sqlite_store: Store, sqlite_store_url: str, model: RawServer
) -> None:
    """A call over HTTP, a call over MCP, a model call through the proxy and a stream."""
    dataset = await sim_world.build(sqlite_store)
    async with sqlite_store.writing() as connection:
        await sqlite_store.datasets.put_queries(connection, dataset.id, [QUERY])
    async with (
        serving(sqlite_store_url, model) as (process, url),
        httpx.AsyncClient(base_url=url, timeout=240) as client,
    ):
        opening = [{"query_id": "1", "run": f"run-{n}"} for n in range(4)]
        episodes = [(await client.post("/v1/episodes", json=one)).json() for one in opening]
        plain, over_mcp, by_proxy, by_stream = episodes
        function = plain["tools"][0]["function"]["name"]
        tool_call = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": function, "arguments": {"title": "M"}},
        }
        question = {"model": "m", "messages": [{"role": "user", "content": "Which?"}]}
        accept = {"accept": "application/json, text/event-stream"}
        asking = [
            client.post(
                f"/v1/episodes/{plain['id']}/calls",
                json={"name": function, "arguments": {"title": "Metropolis"}},
                headers={"authorization": f"Bearer {plain['token']}"},
            ),
            client.post(over_mcp["mcp_url"], json=tool_call, headers=accept),
            client.post(f"{by_proxy['proxy_url']}/chat/completions", json=question),
            client.post(f"{by_stream['proxy_url']}/chat/completions", json={**question, "stream": True}),
        ]
        tasks = [asyncio.create_task(one) for one in asking]
        await heard(model, 4)
        process.terminate()
        answers, err = await asyncio.gather(asyncio.gather(*tasks), ended(process))

    assert [503] * 4 == [answer.status_code for answer in answers]
    assert 0 == process.returncode
    assert "Traceback" not in err


@pytest.mark.parametrize("mode", ["replay", "simulate"])
async def test_it_ends_while_the_database_is_frozen(
    postgres_server: services.Postgres, postgres_url: str, model: RawServer, mode: str
) -> None:
    """Whether a call waits for a read or for its lock, and although misses can no longer be written: they are told."""
    store = await open_store(postgres_url)
    await sim_world.build(store)
    await store.close()
    async with (
        serving(postgres_url, model) as (process, url),
        httpx.AsyncClient(base_url=url, timeout=240) as client,
    ):
        headers = {"x-stb-mode": mode}
        missed = await client.post("/virtual", json=search("Nobody"), headers={"x-stb-mode": "replay"})
        postgres_server.pause()
        try:
            asking = asyncio.create_task(client.post("/virtual", json=search("Metropolis"), headers=headers))
            events = asyncio.create_task(client.get("/v1/runs"))
            await asyncio.sleep(0.5)
            process.terminate()
            answer, listed, err = await asyncio.gather(asking, events, ended(process))
        finally:
            postgres_server.resume()

    assert 200 == missed.status_code
    assert [503, 503] == [answer.status_code, listed.status_code]
    assert process.returncode in {0, 1}  # 1 where the miss was lost
    assert "Traceback" not in err


async def test_it_ends_while_a_real_api_thinks(
    sqlite_store: Store, sqlite_store_url: str, model: RawServer, tmp_path: Path
) -> None:
    """The client gets 503, whatever time the API may take."""
    await sim_world.build(sqlite_store)
    config = tmp_path / "real.json"
    limits = {"allowed_networks": ["127.0.0.0/8"], "read_s": 600, "total_s": 600}
    config.write_text(json.dumps({"limits": limits, "proxy": {"url": f"{model.url}/v1/chat/completions"}}))
    options = "--upstream", str(config), "--mode", "record"
    async with (
        serving(sqlite_store_url, model, *options) as (process, url),
        httpx.AsyncClient(base_url=url, timeout=240) as client,
    ):
        asking = asyncio.create_task(client.post("/virtual", json=search("Metropolis")))
        await heard(model)
        process.terminate()
        answer, err = await asyncio.gather(asking, ended(process))

    assert (503, "stopping", 0) == (answer.status_code, answer.headers["x-stb-error"], process.returncode)
    assert "Traceback" not in err


async def test_told_twice_it_ends_at_once(
    sqlite_store: Store, sqlite_store_url: str, model: RawServer
) -> None:
    """A second Ctrl-C waits for no call, however long the server would."""
    await sim_world.build(sqlite_store)
    async with (
        serving(sqlite_store_url, model, grace=3600) as (process, url),
        httpx.AsyncClient(base_url=url, timeout=240) as client,
    ):
        asking = asyncio.create_task(client.post("/virtual", json=search("Metropolis")))
        await heard(model)
        process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGINT)
        await ended(process)
        (answer,) = await asyncio.gather(asking, return_exceptions=True)

    assert isinstance(answer, httpx.TransportError) or answer.status_code == 503


async def test_work_is_ended_before_its_lock_is_given_back(sqlite_store: Store) -> None:
    """Whoever waited for it is cancelled; the lock is free, and a later flight is not concerned."""
    writer = StoreWriter(sqlite_store, timeout_s=20)
    mine, theirs = StoreLocks(sqlite_store, writer), StoreLocks(sqlite_store, writer)
    flights, under_way = SingleFlight[None](mine), asyncio.Event()

    async def work(_: bool) -> None:
        under_way.set()
        await asyncio.sleep(3600)

    waiting = asyncio.create_task(flights.share("a", work))
    await under_way.wait()
    await flights.close()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert 0 == len(flights)
    assert await theirs.take("a", "another")
    await writer.close()


async def test_a_recorder_that_has_stopped_says_so(sqlite_store: Store) -> None:
    """Whoever comes after its end, or was waiting when it was broken off, is not left waiting."""
    closed, broken = [StoreWriter(sqlite_store, timeout_s=20) for _ in range(2)]
    await closed.close()
    under_way = asyncio.Event()

    async def work(_: object) -> None:
        under_way.set()
        await asyncio.sleep(3600)

    waiting = asyncio.create_task(broken.do(work))
    await under_way.wait()
    await broken.tasks.close(timeout_s=0)

    for late in (waiting, broken.do(work), closed.do(work)):
        with pytest.raises(StoreError, match="The program is stopping"):
            await late
