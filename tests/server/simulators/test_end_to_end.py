"""A run against dead APIs that a simulator plays, and the same run again from the recording alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import services
import sim_world
from llm_server import LLMServer, obliging, text
from stb_core.llm.protocol import Endpoint
from stb_core.store import open_store
from stb_core.values.provenance import CacheMode
from stb_core.values.trajectories import Trajectory
from stb_server.simulators.options import SimulatorOptions
from stb_server.worker.options import ServerOptions
from virtual_server import running

QUERIES = 20
SIMULATOR = "plays-apis"


def value_of(schema: dict[str, Any], filler: str) -> Any:
    """A value of the shape that the simulator asks for."""
    kinds = schema.get("type", "object")
    kind = next(k for k in ([kinds] if isinstance(kinds, str) else kinds) if k != "null")
    if kind == "object":
        return {name: value_of(member, filler) for name, member in schema.get("properties", {}).items()}
    if kind == "array":
        return [value_of(schema["items"], filler)] if schema.get("items") else []
    return {"integer": 7, "number": 0.5, "boolean": True}.get(kind, filler)


def models(body: dict[str, Any]) -> Any:
    """Both models behind one address: one plays APIs, the other is the agent's."""
    if body["model"] != SIMULATOR:
        return obliging(body)
    shape = sim_world.asked_shape(body)
    call = body["messages"][1]["content"].rsplit("Call\n", 1)[1]
    is_open = "object" in shape["type"] and "properties" not in shape
    return text(sim_world.served({"call": call} if is_open else value_of(shape, call[-40:])))


async def trajectories(url: str, run: str) -> list[Trajectory]:
    store = await open_store(url)
    try:
        return [trajectory async for trajectory in store.runs.trajectories(run)]
    finally:
        await store.close()


def essence(trajectory: Trajectory) -> dict[str, Any]:
    """A trajectory without times and without where its answers came from."""
    document = trajectory.content()
    for step in document["steps"]:
        del step["provenance"]
    return document


@pytest.mark.slow
async def test_a_replay_of_a_simulated_run_gives_the_same_trajectories(
    llm: LLMServer, stb: Callable[..., Any], real_data: Path, tmp_path: Path
) -> None:
    """20 real queries with dead APIs complete with shares by provenance; the replay asks no simulator."""
    llm.rule = models
    url = f"sqlite:///{tmp_path / 'store.db'}"
    imported = await asyncio.to_thread(stb, "data", "import", real_data / "release", "--name", "real")
    assert 0 == imported.returncode, imported.stderr
    upstream = tmp_path / "upstream.yaml"
    dead = f"http://127.0.0.1:{services.free_port()}/rapidapi"
    limits = {"allowed_networks": ["127.0.0.0/8"]}
    upstream.write_text(json.dumps({"limits": limits, "proxy": {"url": dead}}))
    simulator = SimulatorOptions(
        "llm",
        model=f"stub/{SIMULATOR}",
        endpoints=(Endpoint(llm.url, None, "STUB_BASE_URL", "STUB_API_KEY"),),
    )
    options = ServerOptions(url, "real", CacheMode.AUTO, upstream=upstream, simulator=simulator)
    command = ("run", "-a", "cot", "-m", "stub/agent", "-d", "real:G1_instruction", "--limit", QUERIES)

    async with running(options) as server:
        runs: list[dict[str, Any]] = []
        simulations: list[int] = []
        for mode in ("auto", "replay"):
            done = await asyncio.to_thread(
                stb,
                *(*command, "--server", server.url, "--mode", mode, "--json"),
                env={"STUB_BASE_URL": llm.url},
            )
            assert 0 == done.returncode, done.stderr
            runs.append(json.loads(done.stdout))
            simulations.append(sum(body["model"] == SIMULATOR for body in llm.requests))
    first, second = [await trajectories(url, run["run"]) for run in runs]

    assert [QUERIES, QUERIES] == [len(first), len(second)]
    assert simulations[0] > 0
    assert simulations[0] == simulations[1]
    assert [essence(t) for t in first] == [essence(t) for t in second]
    assert {"simulated"} <= {step.provenance for t in first for step in t.steps}
    assert {"recorded", "recorded-simulated", None} >= {step.provenance for t in second for step in t.steps}
    assert "simulated" in json.dumps(runs[0])
