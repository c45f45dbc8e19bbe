"""A model that really answers, in all three roles: ``STB_TEST_MODEL_URL=http://HOST:PORT/v1 pytest -m real_model -s``.

``STB_TEST_MODEL`` names the model, by default the first that the endpoint lists. Any will do, also a small one:
nothing is expected of what it says, only that it is asked, read, counted and stored as it should be. The figures are
printed. Where the endpoint is vLLM's, all tokens that it counts must be on record.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

import virtual_server
from conftest import REPOSITORY
from stb_core.cli import console
from stb_core.llm.protocol import Endpoint
from stb_core.llm.retries import Patience
from stb_core.values.provenance import CacheMode
from stb_server.simulators.ask import SimulatorSampling
from stb_server.simulators.options import SimulatorOptions
from stb_server.worker.options import ServerOptions

pytestmark = [pytest.mark.real_model, pytest.mark.timeout(3600)]

Stb = Callable[..., subprocess.CompletedProcess[str]]

TIMEOUT_S = 1200.0
_COUNTED = re.compile(r"^vllm:(?:prompt|generation)_tokens_total\{.*\} (\S+)$", re.MULTILINE)
CALLS = (
    ("Finance", "coinage_fx_rates", "latest_rates", {"base": "ISK"}),
    ("Finance", "coinage_fx_rates", "convert", {"from": "ISK", "to": "NOK", "amount": 12}),
    ("Weather", "fairsky_weather", "current_conditions", {"city": "Reykjavik"}),
    ("Food", "table_finder", "find_restaurants", {"city": "Reykjavik", "cuisine": "fish"}),
)


@dataclass(frozen=True)
class RealModel:
    """The endpoint that is tested, and the model at it."""

    url: str
    name: str

    @property
    def environment(self) -> dict[str, str]:
        """What commands need to find it, and patience."""
        return {"LOCAL_BASE_URL": self.url, "STB_MODEL_TIMEOUT": f"{TIMEOUT_S:g}"}

    def count_tokens(self) -> float | None:
        """All tokens so far, as vLLM counts them; None at another server."""
        found = httpx.get(self.url.removesuffix("/v1") + "/metrics")
        counts = _COUNTED.findall(found.text) if found.is_success else []
        return sum(map(float, counts)) if counts else None


@pytest.fixture(scope="module")
def model() -> RealModel:
    """The model that the environment names."""
    url = os.environ["STB_TEST_MODEL_URL"]
    name = os.environ.get("STB_TEST_MODEL") or httpx.get(f"{url}/models").json()["data"][0]["id"]
    return RealModel(url, name)


def say(what: str, started: float, **figures: Any) -> None:
    """Print the figures of a test."""
    told = ", ".join(f"{name} {value}" for name, value in figures.items())
    console.print_note(f"{what}: {time.monotonic() - started:.0f} s; {told}")


def check_count(model: RealModel, before: float | None, recorded: int) -> None:
    """What is on record is what the endpoint has counted since; nothing is known of an endpoint that counts nothing."""
    after = model.count_tokens()
    if before is not None and after is not None:
        assert after - before == pytest.approx(recorded, rel=0.05)


def run_json(stb: Stb, model: RealModel, *command: Any, ends: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """The document that a command prints."""
    done = stb(*command, "--json", env=model.environment, timeout=3000)
    assert done.returncode in ends, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_doctor_can_say_what_it_is_fit_for(stb: Stb, model: RealModel) -> None:
    """It answers, and of each role there is a finding."""
    started = time.monotonic()

    rows = run_json(stb, model, "doctor", "-m", f"local/{model.name}", "--model-timeout", 300)["rows"]

    found = {
        row["check"].rpartition(": ")[2]: row["found"] for row in rows if row["check"].startswith("model")
    }
    say("doctor", started, **found)
    assert {"structured output", "function calls"} <= found.keys()
    assert not [row for row in rows if row["status"] == "failure"]


async def test_it_answers_for_dead_apis(model: RealModel, sqlite_store_url: str, stb: Stb) -> None:
    """Every answer is whole; again, it comes from the cache, byte by byte."""
    env = {"STB_DATABASE_URL": sqlite_store_url}
    imported = stb("data", "import", REPOSITORY / "cache_dumps" / "demo", "--name", "demo", env=env)
    assert imported.returncode == 0, imported.stderr
    simulator = SimulatorOptions(
        "llm",
        model=f"local/{model.name}",
        endpoints=(Endpoint(model.url, None, "LOCAL_BASE_URL", "LOCAL_API_KEY"),),
        patience=Patience(deadline_s=2 * TIMEOUT_S, read_timeout_s=TIMEOUT_S),
        connections=4,
        sampling=SimulatorSampling(max_tokens=400),
    )
    options = ServerOptions(
        database_url=sqlite_store_url, dataset="demo", mode=CacheMode.SIMULATE, simulator=simulator
    )
    before, started = model.count_tokens(), time.monotonic()
    async with (
        virtual_server.running(options) as server,
        httpx.AsyncClient(base_url=server.url, timeout=3000) as client,
    ):

        async def ask(call: tuple[str, str, str, dict[str, Any]]) -> httpx.Response:
            category, tool, api, arguments = call
            body = {
                "category": category,
                "tool_name": tool,
                "api_name": api,
                "tool_input": json.dumps(arguments),
                "strip": "",
                "toolbench_key": "",
            }
            return await client.post("/virtual", json=body)

        first = await asyncio.gather(*(ask(call) for call in CALLS))
        seconds = time.monotonic() - started
        again = await asyncio.gather(*(ask(call) for call in CALLS))
        metrics = (await client.get("/metrics")).text

    origins = Counter(one.headers["x-stb-provenance"] for one in first)
    replies = {
        k: float(n) for k, n in re.findall(r'stb_simulator_replies_total\{kind="(\w+)"\} (\S+)', metrics)
    }
    tokens = sum(float(n) for n in re.findall(r"stb_simulator_tokens_total\{.*\} (\S+)", metrics))
    say("simulator", started, seconds=round(seconds), origins=dict(origins), replies=replies, tokens=tokens)
    assert origins["simulated"] >= len(CALLS) - 1
    assert sum(replies.values()) <= 3 * len(CALLS)
    assert all({"error", "response"} == one.json().keys() for one in first)
    served = [
        pair for pair in zip(first, again, strict=True) if pair[0].headers["x-stb-provenance"] == "simulated"
    ]
    assert [one.content for one, _ in served] == [two.content for _, two in served]
    check_count(model, before, int(tokens))


def test_it_works_as_an_agent_and_as_a_judge(stb: Stb, model: RealModel) -> None:
    """Every trial ends by itself, every verdict can be read, and all tokens are on record."""
    name = f"local/{model.name}"
    assert stb("data", "import", REPOSITORY / "cache_dumps" / "demo", "--name", "demo").returncode == 0
    before, started = model.count_tokens(), time.monotonic()

    limits = ("--max-completion-tokens", 512, "--max-model-calls", 8, "--max-repeats", 3)
    ran = run_json(
        stb,
        model,
        *("run", "-a", "cot", "-m", name, "-d", "demo", "--task-ids", "101,201", "--temperature", 0),
        *("--text-calls", "on", *limits),
    )
    row = ran["rows"][-1]
    say(
        "agent",
        started,
        stops=row["stops"],
        calls=row["n_calls"],
        tokens=row["prompt_tokens"] + row["completion_tokens"],
    )
    assert ran["complete"]
    check_count(model, before, row["prompt_tokens"] + row["completion_tokens"])

    run_json(stb, model, "run", "-a", "scripted", "-d", "demo", "--task-ids", "101,201", "--name", "answers")
    before, started = model.count_tokens(), time.monotonic()
    judged = run_json(stb, model, "score", "answers", "--judge", name, "--rounds", 1, "--no-anchors")
    score = next(row for row in judged["rows"] if row["group"] == "micro")
    say("judge", started, value=score["value"], tokens=score["judge_tokens"])
    assert score["complete"]
    check_count(model, before, score["judge_tokens"])
