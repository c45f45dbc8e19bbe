"""Minutes of mixed traffic with faults against two workers: nothing is lost or altered, and nothing grows.

``STB_TEST_SOAK_S`` says how many seconds; ten minutes by default. Clients ask for what is recorded, what only a real
API or a model knows, and what nobody knows; others send slowly, go away, or say nothing. Meanwhile Redis is
killed, paused and emptied, PostgreSQL crashes, the real API fails and the model refuses.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest

import services
import sim_world
from conftest import clean_environment
from llm_server import Answer, LLMServer, status, text
from real_api import RealApi, running_real_api
from stb_core.store import Store, open_store

SECONDS = float(os.environ.get("STB_TEST_SOAK_S", "600"))
pytestmark = [pytest.mark.soak, pytest.mark.linux, pytest.mark.timeout(900 + 3 * SECONDS)]
WARM_UP_S = min(60.0, SECONDS / 4)
FAULT_EVERY_S = SECONDS / 24
CALM_S = 5.0
GROWTH = 1.05
"""How much larger memory may be at the end than after the warm-up."""
WORKERS = 2
MEMORY_MB = 1
"""Memory of each worker for answers; full before the traffic begins."""
SHELF = 2000
"""Recorded answers that fill it."""
MORE_FILES = 12
"""Descriptors that may be open besides: a worker keeps eight connections to the store and four for reading it, and opens
most of them only when many calls wait at once."""
BATCH = 200
"""New calls of one kind whose answers are asked for again."""


def search(title: str) -> bytes:
    """A request for a film."""
    return request("search", title=title)


def request(api: str, **given: str) -> bytes:
    arguments = json.dumps(given)
    names = {"category": "Movies", "tool_name": sim_world.FILMS.tool_name, "api_name": api}
    return json.dumps(
        {**names, "tool_input": arguments, "strip": "", "toolbench_key": "soak-key-0123456789"}
    ).encode()


def model(body: dict[str, Any]) -> Answer:
    """A film with the title that is asked for; refuses one title in five."""
    call = body["messages"][1]["content"].rsplit("Call\n", 1)[1]
    # As long as the model has answered nothing, a refused request is repeated with the schema behind the call.
    asked = json.JSONDecoder().raw_decode(call)[0]["arguments"]["title"]
    if asked.endswith(("3", "8")):
        return status(400, "no")
    return text(sim_world.served(sim_world.film(asked, 2000)["response"]))


@dataclass
class Traffic:
    """What was asked and answered."""

    url: str
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    random: random.Random = field(default_factory=lambda: random.Random(0))
    statuses: Counter[str] = field(default_factory=Counter)
    given: dict[str, bytes] = field(default_factory=dict)
    """The first answer to each title, by a recording, the real API or the model."""
    altered: list[str] = field(default_factory=list)
    missed: set[str] = field(default_factory=set)
    """Titles that nobody knows, in mode ``replay``, whose miss was acknowledged."""
    broken: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    number: int = 0

    def new_title(self, kind: str) -> str:
        """A title that nobody has asked for."""
        self.number += 1
        return f"{kind} {self.number}"

    async def ask(self, client: httpx.AsyncClient, title: str, mode: str = "") -> None:
        """Ask for a title and compare the answer with the first that it got."""
        headers = {"x-stb-mode": mode} if mode else {}
        try:
            answer = await client.post("/virtual", content=search(title), headers=headers)
        except httpx.HTTPError as problem:
            self.broken.append(f"{title}: {problem!r}")
            return
        provenance = answer.headers.get("x-stb-provenance", "")
        self.statuses[f"{answer.status_code} {provenance or answer.headers.get('x-stb-error')}"] += 1
        if answer.status_code not in {200, 503}:
            self.broken.append(f"{title}: {answer.status_code} {answer.text[:200]}")
        if answer.status_code != 200:
            return
        if provenance == "miss":
            if title in self.given:
                self.altered.append(f"{title}: a miss after an answer")
            if mode == "replay":
                self.missed.add(title)
        elif self.given.setdefault(title, answer.content) != answer.content:
            self.altered.append(title)

    async def known(self, client: httpx.AsyncClient) -> None:
        """Ask for what has an answer."""
        await self.ask(client, self.random.choice(list(self.given)[-BATCH:]))

    async def new(self, client: httpx.AsyncClient) -> None:
        """Ask for what only a real API or a model knows, twice at once."""
        title = self.new_title("new")
        await asyncio.gather(self.ask(client, title), self.ask(client, title))

    async def unknown(self, client: httpx.AsyncClient) -> None:
        """Ask for what nobody knows."""
        await self.ask(client, self.new_title("unknown"), mode="replay")

    async def health(self, client: httpx.AsyncClient) -> None:
        """Ask how the server is, as a probe does."""
        for path in ("/healthz", "/readyz", "/metrics"):
            with suppress(httpx.HTTPError):
                answer = await client.get(path)
                self.statuses[f"{path} {answer.status_code}"] += 1

    async def go_away(self, _: httpx.AsyncClient) -> None:
        """Ask for something new and close the connection at once."""
        body = search(self.new_title("gone"))
        async with connection(self.url) as (_reader, writer):
            writer.write(head(len(body)) + body)
            await writer.drain()

    async def be_slow(self, _: httpx.AsyncClient) -> None:
        """Send a call in three pieces, with pauses, and read its answer."""
        body = search(self.random.choice(list(self.given)[-BATCH:]))
        async with connection(self.url) as (reader, writer):
            for piece in (head(len(body))[:20], head(len(body))[20:] + body[:10], body[10:]):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.5)
            self.statuses[f"slow {(await reader.readline())[9:12].decode()}"] += 1

    async def say_nothing(self, _: httpx.AsyncClient) -> None:
        """Open a connection, send half a head, and wait."""
        async with connection(self.url) as (_reader, writer):
            writer.write(b"POST /virtual HTTP/1.1\r\nHost:")
            await writer.drain()
            await asyncio.sleep(3)


def head(length: int) -> bytes:
    return f"POST /virtual HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()


@asynccontextmanager
async def connection(url: str) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that ends without a word; a server that is too busy to accept it is none of our business."""
    place = httpx.URL(url)
    with suppress(OSError, asyncio.IncompleteReadError):
        reader, writer = await asyncio.open_connection(place.host, place.port)
        try:
            yield reader, writer
        finally:
            writer.close()


async def drive(
    traffic: Traffic, act: Callable[[httpx.AsyncClient], Awaitable[None]], pause_s: float
) -> None:
    """One client that does the same again and again."""
    async with httpx.AsyncClient(base_url=traffic.url, timeout=120) as client:
        while not traffic.stopping.is_set():
            await act(client)
            with suppress(TimeoutError):
                await asyncio.wait_for(traffic.stopping.wait(), pause_s * traffic.random.uniform(0.5, 1.5))


async def disturb(traffic: Traffic, redis: services.Redis, postgres: services.Postgres, api: RealApi) -> None:
    """One fault after the other; each part is back before the next fault."""

    def redis_dies() -> None:
        redis.kill()
        redis.start()

    def redis_hangs() -> None:
        redis.pause()
        time.sleep(2)
        redis.resume()

    def redis_is_emptied() -> None:
        redis.execute("FLUSHALL")

    def database_crashes() -> None:
        postgres.stop("immediate")
        postgres.start()

    def api_fails() -> None:
        api.failing = not api.failing

    faults = [redis_dies, api_fails, database_crashes, redis_is_emptied, api_fails, redis_hangs]
    while not traffic.stopping.is_set():
        for fault in faults:
            with suppress(TimeoutError):
                await asyncio.wait_for(traffic.stopping.wait(), FAULT_EVERY_S)
                return
            await asyncio.to_thread(fault)
            traffic.faults[fault.__name__] += 1


async def during(
    traffic: Traffic, redis: services.Redis, postgres: services.Postgres, api: RealApi, seconds: float
) -> None:
    """Traffic and faults for so long, then silence."""
    traffic.stopping.clear()
    kinds = [(traffic.known, 0.05)] * 4 + [(traffic.new, 0.3)] * 3 + [(traffic.unknown, 0.3)] * 2
    kinds += [(traffic.health, 1.0), (traffic.go_away, 0.5), (traffic.be_slow, 0.5)]
    kinds += [(traffic.say_nothing, 0.1)] * 5
    running = [asyncio.create_task(drive(traffic, act, pause_s)) for act, pause_s in kinds]
    running.append(asyncio.create_task(disturb(traffic, redis, postgres, api)))
    await asyncio.sleep(seconds)
    traffic.stopping.set()
    await asyncio.gather(*running)
    api.failing = False
    await asyncio.sleep(CALM_S)


def workers_of(process: Process) -> list[int]:
    """The worker processes of a server."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return sorted(int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())


def memory_mb(pid: int) -> float:
    """Memory that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def files(pid: int) -> int:
    """Descriptors that a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.fixture
def llm() -> Generator[LLMServer]:
    """A model that refuses now and then."""
    with LLMServer() as server:
        server.rule = model
        yield server


async def start(
    store_url: str, redis: services.Redis, api: RealApi, llm: LLMServer, log: Path
) -> tuple[Process, str]:
    """Workers in auto mode, with little memory for answers."""
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stb_core.cli", "serve", "--json", "--port", "0"),
            *("--workers", str(WORKERS), "--memory-mb", str(MEMORY_MB)),
            *("--mode", "auto", "--upstream", str(api.config), "--redis-url", redis.url),
            *("--simulator", "llm", "--simulator-model", "stub/any"),
            env=clean_environment(
                STB_DATABASE_URL=store_url, STUB_BASE_URL=llm.url, STUB_API_KEY="sk-of-the-soak"
            ),
            stdout=PIPE,
            stderr=stderr,
        )
    assert process.stdout
    return process, json.loads(await process.stdout.readline())["url"]


async def fill_memory(store: Store, url: str) -> None:
    """Ask for recorded answers until all workers' memory is full, so that it does not grow any more.

    A connection reaches one worker; each round makes new ones.
    """
    dataset = await store.datasets.get("small")
    calls = [sim_world.call("genres", lang=f"language {number}") for number in range(SHELF)]
    await store.responses.keep(
        dataset.id, [sim_world.recording(call, {"error": "", "response": "{'genres': 9}"}) for call in calls]
    )

    async def ask_for_all() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=120) as client:
            for number in range(SHELF):
                body = request("genres", lang=f"language {number}")
                answer = await client.post("/virtual", content=body)
                assert "recorded" == answer.headers["x-stb-provenance"]

    async def is_full() -> bool:
        async with httpx.AsyncClient(base_url=url, timeout=120) as client:
            lines = (await client.get("/metrics")).text.splitlines()
        held = next(float(line.split()[1]) for line in lines if line.startswith("stb_memory_bytes "))
        return held > 0.95 * WORKERS * MEMORY_MB * 2**20

    while not await is_full():
        await asyncio.gather(*(ask_for_all() for _ in range(WORKERS)))


async def lost(store: Store, traffic: Traffic) -> tuple[list[str], int, int]:
    """Answers that the store does not have as they were given, misses that the ledger lacks, and how many it has."""
    dataset = await store.datasets.get("small")
    answers = []
    for title, body in traffic.given.items():
        kept = await store.responses.get(dataset.id, sim_world.call("search", title=title).key)
        if kept is None or kept.body != body:
            answers.append(title)
    noted = set()
    total, _ = await store.misses.totals(dataset.id)
    for offset in range(0, total, 1000):
        page = await store.misses.most_frequent(dataset.id, limit=1000, offset=offset)
        noted |= {json.loads(miss.arguments)["title"] for miss in page}
    return answers, len(traffic.missed - noted), total


async def test_nothing_is_lost_or_altered_and_nothing_grows(
    postgres_server: services.Postgres,
    postgres_url: str,
    redis_server: services.Redis,
    llm: LLMServer,
    tmp_path: Path,
) -> None:
    """Each acknowledged answer and miss is stored as it was given; memory and descriptors stay as they were."""
    store = await open_store(postgres_url)
    await sim_world.build(store)
    log = tmp_path / "server.log"
    async with running_real_api(tmp_path) as api:
        process, url = await start(postgres_url, redis_server, api, llm, log)
        await fill_memory(store, url)
        traffic = Traffic(url)
        async with httpx.AsyncClient(base_url=url, timeout=120) as client:
            for title in ("Alien", "Aliens", "Brazil"):
                await traffic.ask(client, title)
        await during(traffic, redis_server, postgres_server, api, WARM_UP_S)
        workers = workers_of(process)
        before = {pid: (memory_mb(pid), files(pid)) for pid in workers}
        samples: dict[int, list[float]] = {pid: [] for pid in workers}
        began = monotonic()
        sampling = asyncio.create_task(_sample(samples))
        await during(traffic, redis_server, postgres_server, api, SECONDS - WARM_UP_S)
        sampling.cancel()
        assert workers == workers_of(process), "a worker died"
        after = {pid: (memory_mb(pid), files(pid)) for pid in workers}
        async with httpx.AsyncClient(base_url=url, timeout=120) as client:
            metrics = (await client.get("/metrics")).text
        process.terminate()
        code = await process.wait()
    answers, misses, noted = await lost(store, traffic)
    await store.close()

    figures = {
        "seconds": round(WARM_UP_S + monotonic() - began),
        "answers": sum(traffic.statuses.values()),
        "by kind": dict(sorted(traffic.statuses.items())),
        "faults": dict(traffic.faults),
        "kept and compared": len(traffic.given),
        "misses noted": noted,
        "lost": len(answers) + misses,
        "altered": len(traffic.altered),
        "memory in MB, after the warm-up and at the end": [
            [round(before[pid][0], 1), round(after[pid][0], 1)] for pid in workers
        ],
        "medians of memory in MB, by tenths": [
            [round(statistics.median(part), 1) for part in tenths(samples[pid])] for pid in workers
        ],
        "files": [[before[pid][1], after[pid][1]] for pid in workers],
    }
    print("soak:", json.dumps(figures))  # noqa: T201 - shown by pytest -rP, and where the test fails
    assert ([], [], [], 0) == (traffic.broken[:3], answers[:3], traffic.altered[:3], misses)
    assert "stb_misses_lost_total 0.0" in metrics
    assert 0 == code, log.read_text()[-2000:]
    assert "Traceback" not in log.read_text()
    assert [] == [pid for pid in workers if after[pid][1] > before[pid][1] + MORE_FILES]
    assert [] == [pid for pid in workers if after[pid][0] > GROWTH * before[pid][0]]


async def _sample(samples: dict[int, list[float]]) -> None:
    while True:
        for pid, values in samples.items():
            values.append(memory_mb(pid))
        await asyncio.sleep(1)


def tenths(values: list[float]) -> list[list[float]]:
    """The values in ten parts, one after the other."""
    size = max(1, len(values) // 10)
    return [
        values[start : start + size] for start in range(0, size * 10, size) if values[start : start + size]
    ]
