"""The hit rate: of calls that runs have on record, and of look-ups that a server counts."""

from __future__ import annotations

import asyncio
import subprocess
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from stb_core.errors import ServiceError
from stb_core.store import Store
from stb_core.values.manifest import Manifest
from stb_core.values.provenance import CacheMode
from stb_core.values.trajectories import FINISH, Message, Node, Step, StopReason, Trajectory
from stb_server.commands.cache_stats import calls_on_record, lookups_of, rate_of, rate_of_lookups
from stb_server.worker.options import ServerOptions
from virtual_server import put_weather, recorded, request, running

Stb = Callable[..., subprocess.CompletedProcess[str]]


def step(provenance: str | None, function: str = "current_for_sky_watch") -> Step:
    return Step(function=function, arguments="{}", provenance=provenance)


def trajectory(number: int, steps: tuple[Step, ...], tree: tuple[Node, ...] | None = None) -> Trajectory:
    return Trajectory(
        group="g",
        query_id=str(number),
        query="?",
        agent="a",
        steps=steps,
        tree=tree,
        stop=StopReason.ANSWERED,
    )


async def put_runs(store: Store) -> None:
    """One run on ``weather`` with a search among its trajectories, one elsewhere, one without calls."""
    finish = step(None, FINISH)
    found = step("recorded")
    search = (
        Node(parent=None, message=Message(role="user", content="?")),
        Node(parent=0, step=step("miss"), pruned="abandoned"),
        Node(parent=0, step=found),
        Node(parent=2, step=finish, final=True),
    )
    plain = (step("recorded"), step("recorded-simulated"), step("simulated"), step("fault"), step(None))
    made = {
        "here": ("weather", [trajectory(1, (*plain, finish)), trajectory(2, (found, finish), search)]),
        "elsewhere": ("other", [trajectory(1, (step("miss"),))]),
        "silent": ("weather", [trajectory(1, (finish,))]),
    }
    for name, (dataset, trajectories) in made.items():
        manifest = Manifest(dataset=dataset, dataset_hash="", agent=name)
        await store.runs.create(name, manifest, {"g": ["1", "2"]})
        await store.runs.put_trajectories(name, trajectories)


async def test_calls_of_runs_are_counted_by_provenance(sqlite_store: Store) -> None:
    """Those of abandoned branches too, those that reached no server not; each once."""
    await put_runs(sqlite_store)

    calls, runs = await calls_on_record(sqlite_store, "weather")

    assert calls == {"recorded": 2, "recorded-simulated": 1, "simulated": 1, "fault": 1, "miss": 1}
    assert runs == 1
    assert rate_of(calls) == pytest.approx(100 * 3 / 5)  # an injected fault is neither a hit nor a miss


def test_nothing_called_has_no_rate() -> None:
    """It is not 0 %."""
    assert rate_of(Counter()) is None
    assert rate_of(Counter(fault=3)) is None
    assert rate_of_lookups({"miss": 0}) is None


async def test_a_server_tells_its_lookups(sqlite_store: Store, sqlite_store_url: str) -> None:
    """By the tier that had the answer."""
    await put_weather(sqlite_store, recorded({"city": "Oslo"}))
    async with running(ServerOptions(database_url=sqlite_store_url, dataset="weather", token="t")) as server:
        for city in ("Oslo", "Oslo", "Oslo", "Rome"):
            await server.call(request({"city": city}), Authorization="Bearer t")

        lookups = await lookups_of(server.url, "t")
        with pytest.raises(ServiceError, match=r"answers HTTP 401\. Check --token"):
            await lookups_of(server.url, "wrong")

    assert lookups == {"store": 1, "memory": 2, "miss": 1}
    assert rate_of_lookups(lookups) == 75.0


async def test_a_call_is_looked_up_once(sqlite_store: Store, sqlite_store_url: str) -> None:
    """Also where something else than the cache may answer it, and the cache is asked again before that."""
    await put_weather(sqlite_store)
    options = ServerOptions(database_url=sqlite_store_url, dataset="weather", mode=CacheMode.SIMULATE)
    async with running(options) as server:
        for _ in range(2):
            await server.call(request({"city": "Rome"}))

        assert await lookups_of(server.url, "") == {"memory": 0, "miss": 2}


async def test_the_command_tells_both(stb: Stb, sqlite_store: Store, sqlite_store_url: str) -> None:
    """In words, and as numbers of the document."""
    await put_weather(sqlite_store, recorded({"city": "Oslo"}))
    before = await asyncio.to_thread(stb, "cache", "stats", "weather")
    await put_runs(sqlite_store)
    async with running(ServerOptions(database_url=sqlite_store_url, dataset="weather")) as server:
        await server.call(request({"city": "Oslo"}))
        args: tuple[Any, ...] = ("cache", "stats", "weather", "--server", server.url)
        said = await asyncio.to_thread(stb, *args)
        document = orjson.loads((await asyncio.to_thread(stb, *args, "--json")).stdout)
    nowhere = await asyncio.to_thread(stb, "cache", "stats", "weather", "--server", "http://127.0.0.1:9")

    assert "No run has made calls yet." in before.stdout
    assert "60.0 % of 5 calls in 1 run found a recording: recorded 2, " in said.stdout
    assert "100.0 % of the server's 1 lookups found a recording: store 1." in said.stdout
    assert (document["hit_rate"], document["server_hit_rate"]) == (60.0, 100.0)
    assert nowhere.stderr.startswith("stb: The server at http://127.0.0.1:9 returned no metrics (")
    assert nowhere.stderr.count("\n") == 1
