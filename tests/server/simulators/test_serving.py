"""Simulators behind the server: what clients get, what is kept, and how often a model is asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

import sim_world
from llm_server import LLMServer, text
from sim_world import FILMS
from stb_agents.environment.agent import ModelUse, Outcome, Task
from stb_agents.environment.budget import UNLIMITED
from stb_agents.environment.environment import Environment
from stb_agents.environment.server_client import VirtualClient
from stb_agents.runs.trial import run_trial
from stb_core.llm.protocol import Endpoint
from stb_core.llm.retries import Patience
from stb_core.store import Store, schema
from stb_core.usage import Price, Usage
from stb_core.values.functions import Functions, OfferedApi
from stb_core.values.provenance import CacheMode, Provenance
from stb_core.values.queries import Query
from stb_core.values.tools import ApiRef
from stb_core.values.trajectories import StopReason
from stb_server.simulators.options import SimulatorOptions
from stb_server.worker.options import ServerOptions
from virtual_server import Running, running

HASTY = Patience(deadline_s=60, first_wait_s=0.001, longest_wait_s=0.01)


@asynccontextmanager
async def serving(
    store_url: str, llm: LLMServer, mode: CacheMode = CacheMode.SIMULATE, **more: Any
) -> AsyncGenerator[Running]:
    endpoint = Endpoint(llm.url, None, "STUB_BASE_URL", "STUB_API_KEY")
    simulator = SimulatorOptions("llm", model="stub/any", endpoints=(endpoint,), patience=HASTY, **more)
    async with running(ServerOptions(store_url, "small", mode, simulator=simulator)) as server:
        yield server


def search(title: str) -> dict[str, Any]:
    return {
        "category": "Movies",
        "tool_name": FILMS.tool_name,
        "api_name": "search",
        "tool_input": json.dumps({"title": title}),
        "strip": "",
        "toolbench_key": "tb-secret-key",
    }


def echo(body: dict[str, Any]) -> Any:
    """A film with the title that the call asks for."""
    asked = json.loads(body["messages"][1]["content"].rsplit("Call\n", 1)[1])
    return text(sim_world.served(sim_world.film(asked["arguments"]["title"], 2000)["response"]))


async def test_a_simulated_answer_is_marked_kept_and_served_again_as_such(
    llm: LLMServer, sqlite_store: Store, sqlite_store_url: str
) -> None:
    """First ``simulated``, then ``recorded-simulated`` and never ``recorded``; details are on record."""
    dataset = await sim_world.build(sqlite_store)
    llm.rule = echo
    async with serving(sqlite_store_url, llm) as server:
        answers = [await server.call(search("Metropolis")) for _ in range(2)]
        replayed = await server.call(search("Metropolis"), x_stb_mode="replay")

    assert ["simulated", "recorded-simulated"] == [answer.headers["x-stb-provenance"] for answer in answers]
    assert "recorded-simulated" == replayed.headers["x-stb-provenance"]
    assert sim_world.film("Metropolis", 2000) == answers[0].json() == answers[1].json() == replayed.json()
    assert 1 == llm.count
    kept = await sqlite_store.responses.get(dataset.id, sim_world.call("search", title="Metropolis").key)
    assert kept is not None
    assert kept.details is not None
    assert {"simulator", "model", "prompt", "prompt_hash", "seed", "usage"} == kept.details.keys()
    assert "tb-secret-key" not in json.dumps(llm.requests) + json.dumps(kept.details)


async def test_replies_and_tokens_are_counted_in_the_metrics(
    llm: LLMServer, sqlite_store: Store, sqlite_store_url: str
) -> None:
    """By kind of reply, and what the model read and wrote."""
    await sim_world.build(sqlite_store)
    llm.rule = echo
    async with serving(sqlite_store_url, llm) as server:
        await server.call(search("Metropolis"))
        llm.answer(text("no JSON"))
        await server.call(search("Nosferatu"))
        metrics = (await server.client.get("/metrics")).text

    assert 'stb_simulator_replies_total{kind="strict"} 2.0' in metrics
    assert 'stb_simulator_replies_total{kind="no_json"} 1.0' in metrics
    assert 'stb_simulator_tokens_total{kind="prompt"}' in metrics


async def test_each_request_is_told_what_it_consumed(
    llm: LLMServer, sqlite_store: Store, sqlite_store_url: str
) -> None:
    """Whoever asked the model: not who got the same answer meanwhile, nor from the cache; also for a miss."""
    await sim_world.build(sqlite_store)
    llm.rule = echo
    llm.behaviour.latency_s = 0.1
    async with serving(sqlite_store_url, llm, price=Price(input=1, output=10)) as server:
        at_once = await asyncio.gather(*(server.call(search("Metropolis")) for _ in range(4)))
        later = await server.call(search("Metropolis"))
        llm.rule = lambda _: text("no JSON")
        missed = await server.call(search("Nosferatu"))

    told = [answer.headers.get("x-stb-usage") for answer in at_once]
    (usage,) = (Usage.model_validate_json(one) for one in told if one)
    assert (usage.model_calls, usage.prompt_tokens > 0) == (1, True)
    assert usage.cost_usd == pytest.approx((usage.prompt_tokens + 10 * usage.completion_tokens) / 1e6)
    assert later.headers.get("x-stb-usage") is None
    assert missed.headers["x-stb-provenance"] == "miss"
    assert Usage.model_validate_json(missed.headers["x-stb-usage"]).model_calls >= 2


async def test_a_trial_knows_what_its_calls_consumed(
    llm: LLMServer, sqlite_store: Store, sqlite_store_url: str
) -> None:
    """The sum over its calls; it is no part of what the same agent would do again."""
    await sim_world.build(sqlite_store)
    llm.rule = echo
    functions = Functions(
        [OfferedApi(ApiRef(sim_world.CATEGORY, "film_finder", "search"), FILMS.api_list[0])]
    )
    query = Query(group="G1_tool", query_id="1", text="Which films?", apis=())
    trajectories = []
    async with serving(sqlite_store_url, llm) as server, VirtualClient(server.url, "small") as client:
        for _ in range(2):
            environment = Environment(functions, client)
            trajectories.append(await run_trial(TwoFilms(), Task(query, 0), environment, None))

    first, second = trajectories
    assert first.simulator_usage is not None
    assert (first.simulator_usage.model_calls, second.simulator_usage) == (2, Usage())
    assert first.simulator_usage.total_tokens > 0
    assert "simulator_usage" not in first.content()
    assert [step.observation for step in first.steps] == [step.observation for step in second.steps]


class TwoFilms:
    """Asks for two films."""

    name = "two-films"
    model_use: ModelUse = "none"
    budget = UNLIMITED

    def settings(self) -> dict[str, Any]:
        return {}

    async def solve(self, task: Task, environment: Environment) -> Outcome:
        (name,) = environment.functions.names
        for title in ("Metropolis", "Nosferatu"):
            await environment.call(name, json.dumps({"title": title}))
        return Outcome(StopReason.ANSWERED, task.text)


async def test_a_refusal_by_rule_is_kept_like_every_simulated_answer(
    llm: LLMServer, sqlite_store: Store, sqlite_store_url: str
) -> None:
    """So that a replay has it; it is marked by its error type."""
    await sim_world.build(sqlite_store)
    wrong = {**search(""), "tool_input": '{"actor": "x"}'}
    async with serving(sqlite_store_url, llm) as server:
        first = await server.call(wrong)
        again = await server.call(wrong, x_stb_mode="replay")

    assert ("simulated", "wrong_arguments") == tuple(
        first.headers[name] for name in ("x-stb-provenance", "x-stb-error")
    )
    assert ("recorded-simulated", first.json()) == (again.headers["x-stb-provenance"], again.json())
    assert 0 == llm.count


@pytest.mark.parametrize(
    "reply", ["no JSON", '{"answer": {"response": {"count": "x"}}}', '{"answer": {"response": {']
)
async def test_nothing_malformed_reaches_a_client_or_the_store(
    llm: LLMServer, sqlite_store: Store, sqlite_store_url: str, reply: str
) -> None:
    """The client gets a miss; the store has what it had before."""
    await sim_world.build(sqlite_store)
    llm.rule = lambda _: text(reply)
    async with serving(sqlite_store_url, llm) as server:
        answer = await server.call(search("Metropolis"))

    assert ("miss", "miss") == tuple(answer.headers[name] for name in ("x-stb-provenance", "x-stb-error"))
    assert reply not in answer.text
    async with sqlite_store.reading() as connection:
        count = await connection.scalar(sa.select(sa.func.count()).select_from(schema.responses))
    assert 7 == count


async def test_a_thousand_concurrent_misses_ask_a_hundred_times(
    llm: LLMServer, sqlite_store: Store, sqlite_store_url: str
) -> None:
    """1,000 misses over 100 distinct calls: 100 model calls, and all get the answer of theirs."""
    await sim_world.build(sqlite_store)
    llm.rule = echo
    llm.behaviour.latency_s = 0.3
    titles = [f"Film {number % 100}" for number in range(1000)]
    async with serving(sqlite_store_url, llm, connections=64) as server:
        target = urlsplit(server.url)

        async def one(title: str) -> str:  # a bare connection: a thousand clients cost more than the server
            body = json.dumps(search(title)).encode()
            head = f"POST /virtual HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}"
            reader, writer = await asyncio.open_connection(target.hostname, target.port)
            writer.write(f"{head}\r\n\r\n".encode() + body)
            answer = (await reader.read()).split(b"\r\n\r\n", 1)[1]
            writer.close()
            found: str = json.loads(answer)["response"]["films"][0]["title"]
            return found

        found = await asyncio.gather(*map(one, titles))

    assert (titles, 100) == (found, llm.count)
    assert llm.max_in_flight <= 64


async def test_the_examples_of_a_snapshot_are_those_of_the_snapshot(
    llm: LLMServer, sqlite_store: Store, sqlite_store_url: str
) -> None:
    """Recordings that came after it are not shown, those that it holds are, superseded or not."""
    dataset = await sim_world.build(sqlite_store)
    llm.rule = echo
    snapshot = await sqlite_store.snapshots.take(dataset.id)
    late = sim_world.recording(sim_world.call("search", title="Metropolit"), sim_world.film("Late", 2))
    newer = sim_world.recording(sim_world.call("search", title="Alien"), sim_world.film("Newer", 3))
    await sqlite_store.responses.keep(dataset.id, [late])
    await sqlite_store.responses.keep(dataset.id, [newer], supersede=True)
    async with serving(sqlite_store_url, llm, examples=9) as server:
        await server.call(search("Metropolis"), x_stb_snapshot=snapshot.hash)
        await server.call(search("Nosferatu"))

    prompts = [request["messages"][1]["content"] for request in llm.requests]
    assert [False, False, True] == ["Late" in prompts[0], "Newer" in prompts[0], "1979" in prompts[0]]
    assert [True, True, False] == ["Late" in prompts[1], "Newer" in prompts[1], "1979" in prompts[1]]


async def test_invented_answers_are_no_examples(
    llm: LLMServer, sqlite_store: Store, sqlite_store_url: str
) -> None:
    """A model is shown what real APIs said, and never what a model made up."""
    dataset = await sim_world.build(sqlite_store)
    llm.rule = echo
    invented = sim_world.recording(
        sim_world.call("search", title="Metropolit"), sim_world.film("Invented", 2)
    )
    await sqlite_store.responses.keep(dataset.id, [replace(invented, provenance=Provenance.SIMULATED)])
    async with serving(sqlite_store_url, llm, examples=9) as server:
        await server.call(search("Metropolis"))

    prompt = llm.requests[0]["messages"][1]["content"]
    assert [False, True] == ["Invented" in prompt, "1979" in prompt]
