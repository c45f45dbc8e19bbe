"""Answers that agree within an episode: ten things are created, read, updated, listed and deleted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sqlalchemy as sa

import sim_world
from llm_server import LLMServer, text
from sim_world import THINGS
from stb_core.llm.protocol import Endpoint
from stb_core.llm.retries import Patience
from stb_core.store import Store, schema
from stb_core.store.episodes import PriorCall
from stb_core.values.calls import ToolCall
from stb_core.values.provenance import CacheMode, Provenance
from stb_server.calls.episode_state import STATE, CallInState, call_alone, state_of
from stb_server.simulators.options import SimulatorOptions
from stb_server.worker.options import ServerOptions
from virtual_server import Running, running


@asynccontextmanager
async def serving(store_url: str, llm: LLMServer, mode: str = "simulate") -> AsyncGenerator[Running]:
    simulator = SimulatorOptions(
        "llm",
        model="stub/any",
        endpoints=(Endpoint(llm.url, None, "STUB_BASE_URL", "STUB_API_KEY"),),
        patience=Patience(deadline_s=5),
    )
    async with running(ServerOptions(store_url, "small", CacheMode(mode), simulator=simulator)) as server:
        yield server


def body(thing: str, verb: str, **arguments: str) -> dict[str, Any]:
    return {
        "category": "Business",
        "tool_name": f"{thing} keeper",
        "api_name": f"{verb}_{thing}",
        "tool_input": json.dumps(arguments),
    }


def keeper(request: dict[str, Any]) -> Any:
    """A model that does what an honest one would: it knows what the prompt tells it, and no more."""
    prompt = request["messages"][1]["content"]
    history = prompt.split("oldest first\n", 1)[1].split("\n\nCall\n")[0]
    things: dict[str, str] = {}
    created = 0
    calls = [] if history == "none" else [json.loads(line) for line in history.split("\n")]
    asked = json.loads(prompt.rsplit("Call\n", 1)[1])
    for call in [*calls, asked]:
        verb, thing = call["api"].split("_", 1)
        arguments, key = call["arguments"], call["arguments"].get(f"{thing}_key", "")
        response: Any = None
        if verb == "create":
            created += 1
            things[f"{thing}-{created}"] = arguments["name"]
            response = {"key": f"{thing}-{created}", "name": arguments["name"]}
        elif verb == "list":
            response = dict(things)
        elif key not in things:
            return text(sim_world.refused(f"no such {thing}"))
        elif verb == "read":
            response = {"key": key, "name": things[key]}
        elif verb == "update":
            things[key] = arguments["name"]
            response = {"key": key, "name": arguments["name"]}
        else:
            response = {"deleted": things.pop(key)}
    return text(sim_world.served(response))


def scenario(thing: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Calls, and what they are to be answered."""
    first = {f"{thing}_key": f"{thing}-1"}

    def ok(response: Any) -> dict[str, Any]:
        return {"error": "", "response": response}

    return [
        (body(thing, "create", name="one"), ok({"key": f"{thing}-1", "name": "one"})),
        (body(thing, "create", name="two"), ok({"key": f"{thing}-2", "name": "two"})),
        (body(thing, "read", **first), ok({"key": f"{thing}-1", "name": "one"})),
        (body(thing, "update", **first, name="uno"), ok({"key": f"{thing}-1", "name": "uno"})),
        (body(thing, "read", **first), ok({"key": f"{thing}-1", "name": "uno"})),
        (body(thing, "list"), ok({f"{thing}-1": "uno", f"{thing}-2": "two"})),
        (body(thing, "delete", **first), ok({"deleted": "uno"})),
        (body(thing, "list"), ok({f"{thing}-2": "two"})),
        (body(thing, "read", **first), {"error": f"no such {thing}", "response": ""}),
    ]


@pytest.mark.parametrize("thing", THINGS)
async def test_an_episode_agrees_with_itself_and_replays_byte_for_byte(
    llm: LLMServer, sqlite_store: Store, sqlite_store_url: str, thing: str
) -> None:
    """Later prompts hold what earlier calls established; a replay asks no model and gives the same bytes."""
    await sim_world.build(sqlite_store)
    llm.rule = keeper
    steps = scenario(thing)
    async with serving(sqlite_store_url, llm) as server:
        answers = [await server.call(asked, x_stb_episode="first") for asked, _ in steps]
    asked_for = llm.count

    async with serving(sqlite_store_url, llm, "replay") as server:
        replayed = [await server.call(asked, x_stb_episode="second") for asked, _ in steps]

    assert [expected for _, expected in steps] == [answer.json() for answer in answers]
    for place, request in enumerate(llm.requests):
        prompt = request["messages"][1]["content"]
        assert all(json.dumps(a.json(), separators=(",", ":")) in prompt for a in answers[:place])
    assert [answer.content for answer in answers] == [answer.content for answer in replayed]
    assert {"recorded-simulated"} == {answer.headers["x-stb-provenance"] for answer in replayed}
    assert (len(steps), asked_for) == (asked_for, llm.count)


async def test_episodes_do_not_see_one_another(
    llm: LLMServer, sqlite_store: Store, sqlite_store_url: str
) -> None:
    """What one creates another does not list, and calls without an episode are independent."""
    await sim_world.build(sqlite_store)
    llm.rule = keeper
    async with serving(sqlite_store_url, llm) as server:
        await server.call(body("task", "create", name="mine"), x_stb_episode="mine")
        mine = await server.call(body("task", "list"), x_stb_episode="mine")
        theirs = await server.call(body("task", "list"), x_stb_episode="theirs")
        nobodys = await server.call(body("task", "list"))

    assert [{"task-1": "mine"}, {}, {}] == [a.json()["response"] for a in (mine, theirs, nobodys)]


async def test_a_real_answer_does_not_depend_on_an_episode(
    llm: LLMServer, sqlite_store: Store, sqlite_store_url: str
) -> None:
    """A recording answers in every state; a simulated answer of another state does not."""
    dataset = await sim_world.build(sqlite_store)
    llm.rule = keeper
    call = ToolCall("Business", "note_keeper", "list_note", {})
    async with serving(sqlite_store_url, llm) as server:
        await server.call(body("note", "list"))
        await server.call(body("note", "create", name="x"), x_stb_episode="e")
        simulated = await server.call(body("note", "list"), x_stb_episode="e")
        real = sim_world.recording(call, {"error": "", "response": "real"}, Provenance.RECORDED)
        await sqlite_store.responses.keep(dataset.id, [real], supersede=True)
        await server.worker.refresh_datasets()
        recorded = await server.call(body("note", "list"), x_stb_episode="e")

    assert ({"note-1": "x"}, "real") == (simulated.json()["response"], recorded.json()["response"])
    assert "recorded" == recorded.headers["x-stb-provenance"]


async def test_calls_of_one_tool_take_turns(
    llm: LLMServer, sqlite_store: Store, sqlite_store_url: str
) -> None:
    """Calls sent at once are answered one after another, each seeing those before it."""
    await sim_world.build(sqlite_store)
    llm.rule = keeper
    llm.behaviour.latency_s = 0.02
    async with serving(sqlite_store_url, llm) as server:
        names = [f"n{number}" for number in range(6)]
        made = await asyncio.gather(
            *(server.call(body("order", "create", name=name), x_stb_episode="e") for name in names)
        )

    assert {f"order-{number}" for number in range(1, 7)} == {
        answer.json()["response"]["key"] for answer in made
    }


async def test_answers_of_a_state_are_kept_like_any_other(
    llm: LLMServer, sqlite_store: Store, sqlite_store_url: str
) -> None:
    """Their key is that of their names and arguments, the state being one of the arguments."""
    await sim_world.build(sqlite_store)
    llm.rule = keeper
    async with serving(sqlite_store_url, llm) as server:
        await server.call(body("note", "create", name="x"), x_stb_episode="e")
        await server.call(body("note", "list"), x_stb_episode="e")
    r = schema.responses.c
    async with sqlite_store.reading() as connection:
        rows = list(await connection.execute(sa.select(schema.responses).where(r.tool == "note_keeper")))

    assert [False, True] == [STATE in json.loads(row.arguments) for row in rows]
    calls = [ToolCall(row.category, row.tool, row.api, json.loads(row.arguments)) for row in rows]
    assert [row.key for row in rows] == [call.key for call in calls]


async def test_misses_of_an_episode_enter_the_ledger_as_calls_alone(
    llm: LLMServer, sqlite_store: Store, sqlite_store_url: str
) -> None:
    """The state of an episode is no part of what could be recorded."""
    dataset = await sim_world.build(sqlite_store)
    llm.rule = keeper
    async with serving(sqlite_store_url, llm) as server:
        await server.call(body("note", "create", name="x"), x_stb_episode="e")
        missed = await server.call(body("note", "list"), x_stb_episode="e", x_stb_mode="replay")

    misses = await sqlite_store.misses.most_frequent(dataset.id)
    assert "miss" == missed.headers["x-stb-provenance"]
    assert [b"{}"] == [miss.arguments for miss in misses]


async def test_a_name_that_is_too_long_is_refused(
    llm: LLMServer, sqlite_store: Store, sqlite_store_url: str
) -> None:
    """The name of an episode has at most 200 characters."""
    await sim_world.build(sqlite_store)
    async with serving(sqlite_store_url, llm) as server:
        answer = await server.call(body("note", "list"), x_stb_episode="e" * 201)

    assert (400, "bad_episode") == (answer.status_code, answer.headers["x-stb-error"])


def test_a_state_is_told_by_calls_answers_and_their_order() -> None:
    """Any change of what came before is another state; where one part ends another begins."""
    a, b = PriorCall("x", b"{}", b"1"), PriorCall("x", b"{}", b"2")

    states = [state_of(h) for h in ([], [a], [b], [a, b], [b, a], [PriorCall("x", b"{}1", b"")])]

    assert 6 == len(set(states))


def test_a_call_in_a_state_has_another_key_and_the_same_arguments() -> None:
    """Real APIs are asked with the call's own arguments."""
    call = ToolCall("c", "t", "a", {"x": 1})
    in_state = CallInState.after(call, [PriorCall("a", b"{}", b"1")])

    assert call.key != in_state.key
    assert call.arguments == in_state.arguments
    assert call == call_alone(in_state)
    assert call is call_alone(call)
