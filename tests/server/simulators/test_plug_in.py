"""A simulator of another distribution is served, counted and measured like a built-in one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from stb_core.store import Store
from stb_core.values.provenance import CacheMode
from stb_server.simulators.options import SimulatorOptions
from stb_server.worker.options import ServerOptions
from virtual_server import put_weather, request, running

PLUG_IN = """
from contextlib import asynccontextmanager

import orjson

from stb_core.usage import Usage
from stb_core.values.provenance import Provenance
from stb_server.calls.answers import Answer
from stb_server.simulators.ask import ReplyCounts
from stb_server.simulators.protocol import SimulationRequest


class EchoSimulator:
    def __init__(self):
        self.counts = ReplyCounts()

    async def answer(self, request):
        return await self.simulate(SimulationRequest(None, request.call))

    async def simulate(self, request):
        self.counts.kinds["strict"] += 1
        self.counts.usage += Usage(prompt_tokens=3, completion_tokens=2)
        body = orjson.dumps({"error": "", "response": request.call.arguments})
        return Answer(body, Provenance.SIMULATED)


@asynccontextmanager
async def open_echo(options, context):
    yield EchoSimulator()
"""
ENTRY_POINTS = "[stabletoolbench.simulators]\necho = echo_simulator:open_echo\n"


@pytest.fixture
def plug_in(tmp_path: Path) -> Path:
    """A folder with an installed distribution: one module and one entry point."""
    folder = tmp_path / "site"
    information = folder / "echo_simulator-1.0.dist-info"
    information.mkdir(parents=True)
    (folder / "echo_simulator.py").write_text(PLUG_IN)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: echo-simulator\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


async def test_it_is_served_and_counted(
    plug_in: Path, monkeypatch: pytest.MonkeyPatch, sqlite_store: Store, sqlite_store_url: str
) -> None:
    """Its answer is simulated and kept; its replies and tokens are in the metrics."""
    monkeypatch.syspath_prepend(plug_in)
    await put_weather(sqlite_store)
    options = ServerOptions(
        sqlite_store_url, "weather", CacheMode.SIMULATE, simulator=SimulatorOptions("echo")
    )
    async with running(options) as server:
        answers = [await server.call(request({"city": "Bonn"})) for _ in range(2)]
        metrics = (await server.client.get("/metrics")).text

    assert [{"city": "Bonn"}] * 2 == [answer.json()["response"] for answer in answers]
    assert ["simulated", "recorded-simulated"] == [a.headers["x-stb-provenance"] for a in answers]
    assert 'stb_simulator_replies_total{kind="strict"} 1.0' in metrics
    assert 'stb_simulator_tokens_total{kind="prompt"} 3.0' in metrics


def test_it_is_measured(plug_in: Path, tmp_path: Path, stb: Callable[..., CompletedProcess[str]]) -> None:
    """``stb experiment simulator`` asks it and reports its replies."""
    row = {
        "api_doc": {"api_name": "Current", "tool_name": "Sky Watch", "tool_category": "Weather"},
        "request": {"tool_input": '{"city": "Bonn"}'},
        "label": '{"error": "", "response": {"city": "Bonn"}}',
    }
    bench = tmp_path / "bench.jsonl"
    bench.write_text(json.dumps(row) + "\n")

    done = stb(
        *("experiment", "simulator", "--bench", bench, "--simulator", "echo", "--json"),
        env={
            "PYTHONPATH": os.pathsep.join([str(plug_in), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        },
    )

    assert 0 == done.returncode, done.stderr
    simulator = json.loads(done.stdout)["simulator"]
    assert ("echo", {"strict": 1}) == (simulator["simulator"], simulator["replies"])


@pytest.mark.parametrize(
    ("simulator", "message"),
    [
        ("template", "The simulator template has no model, so it cannot be measured."),
        ("none-such", "There is no simulator 'none-such'."),
    ],
)
def test_what_cannot_be_measured_is_refused(
    tmp_path: Path, stb: Callable[..., CompletedProcess[str]], simulator: str, message: str
) -> None:
    """With what to name instead."""
    bench = tmp_path / "bench.jsonl"
    bench.write_text(json.dumps({"api_doc": {}, "request": {}, "label": "x"}) + "\n")

    done = stb("experiment", "simulator", "--bench", bench, "--simulator", simulator)

    assert 2 == done.returncode
    assert message in done.stderr
