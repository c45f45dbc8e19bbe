"""Episodes whose calls a simulator answers: what it consumes is on record, and its answers agree."""

from __future__ import annotations

import json

import sim_world
from llm_server import LLMServer, status, text
from stb_core.llm.protocol import Endpoint
from stb_core.store import Store
from stb_core.values.provenance import CacheMode
from stb_server.simulators.options import SimulatorOptions

from .conftest import open_episode, put_dataset, serving

WEATHER = {"city": "Oslo", "degrees": 3.25, "days": [1]}


async def test_simulated_answers_agree_and_are_paid_for(
    sqlite_store: Store, sqlite_store_url: str, llm: LLMServer
) -> None:
    """The second prompt of a stateful episode holds the first answer; tokens go to the simulator's account."""
    await put_dataset(sqlite_store)
    llm.rule = lambda _: text(sim_world.served(WEATHER))
    simulator = SimulatorOptions(
        "llm", model="stub/any", endpoints=(Endpoint(llm.url, None, "STUB_BASE_URL", "STUB_API_KEY"),)
    )
    async with serving(sqlite_store_url, mode=CacheMode.SIMULATE, simulator=simulator) as server:
        player = await open_episode(server, run="r", stateful=True)
        first = (await player.call(arguments={"city": "Oslo"})).json()
        await player.call(arguments={"city": "Riga"})
        await player.finish("Drizzle.")

    assert ("simulated", WEATHER) == (first["provenance"], json.loads(first["observation"])["response"])
    assert "3.25" in llm.requests[1]["messages"][1]["content"]
    (trajectory,) = [t async for t in sqlite_store.runs.trajectories("r")]
    assert (0, 2) == (
        trajectory.usage.model_calls,
        (trajectory.simulator_usage or trajectory.usage).model_calls,
    )
    run = await sqlite_store.runs.get("r")
    assert ("simulate", "", True) == (
        run.manifest.mode,
        run.manifest.snapshot_hash,
        run.manifest.server["episodes"],
    )


async def test_a_simulator_that_cannot_be_asked_is_no_result(
    sqlite_store: Store, sqlite_store_url: str, llm: LLMServer
) -> None:
    """The call can be made again; if it is not, the trial is infrastructure."""
    await put_dataset(sqlite_store)
    llm.rule = lambda _: status(400, "this model does not support response_format; nor anything else")
    endpoint = Endpoint(llm.url, None, "STUB_BASE_URL", "STUB_API_KEY")
    simulator = SimulatorOptions("llm", model="stub/any", endpoints=(endpoint,))
    async with serving(sqlite_store_url, mode=CacheMode.SIMULATE, simulator=simulator) as server:
        player = await open_episode(server, run="r")
        called = await player.call(arguments={"city": "Oslo"})
        ended = (await player.finish("Drizzle.")).json()

    assert (503, "simulator_unavailable") == (called.status_code, called.json()["type"])
    assert "nor anything else" in called.json()["error"]
    assert "infrastructure" == ended["stop"]


async def test_a_call_that_its_simulator_refuses_while_it_accepts_others_is_a_miss(
    sqlite_store: Store, sqlite_store_url: str, llm: LLMServer
) -> None:
    """As for an API that nobody knows."""
    await put_dataset(sqlite_store)
    llm.answer(text(sim_world.served(WEATHER)))
    llm.rule = lambda _: status(400, "maximum context length")
    endpoint = Endpoint(llm.url, None, "STUB_BASE_URL", "STUB_API_KEY")
    simulator = SimulatorOptions("llm", model="stub/any", endpoints=(endpoint,))
    async with serving(sqlite_store_url, mode=CacheMode.SIMULATE, simulator=simulator) as server:
        player = await open_episode(server, run="r")
        made = [(await player.call(arguments={"city": city})).json() for city in ("Oslo", "Riga")]
        ended = (await player.finish("Drizzle.")).json()

    assert ["simulated", "miss", "answered"] == [*(one["provenance"] for one in made), ended["stop"]]
