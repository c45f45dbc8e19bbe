"""Ends of an episode: closing words after ``Finish``, and answers in the last words of an agent's model."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import openai
import pytest

from llm_server import LLMServer, call, calls, status, text
from stb_core.store import Store
from stb_core.values.trajectories import StopReason, Trajectory
from stb_server.episodes.closing_replies import CLOSING_WORDS
from stb_server.episodes.model_apis import ModelApi
from stb_server.episodes.reply_reader import answer_in_arguments
from virtual_server import Running, eventually

from .conftest import Player, open_episode, put_dataset, serving
from .test_proxied_apis import ask_anthropic, ask_chat, ask_responses

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "sure": {"type": "boolean"}, "why": {"type": "string"}},
    "required": ["answer", "sure"],
}
SUBMIT = {"chat/completions": {"type": "function", "function": {"name": "submit", "parameters": SCHEMA}}}
SUBMIT["responses"] = {"type": "function", "name": "submit", "parameters": SCHEMA}
SUBMIT["messages"] = {"name": "submit", "input_schema": SCHEMA}
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {}}}]


@pytest.fixture
async def server(store: Store, store_url: str, llm: LLMServer) -> AsyncGenerator[Running]:
    """A server that hands model calls on to the scripted one, and waits briefly for more after a text."""
    await put_dataset(store)
    environment = {"STUB_BASE_URL": llm.url}
    async with serving(store_url, proxy="stub", environment=environment) as started:
        started.app.state.episodes.accounting.text_settles_s = 0.5
        yield started


async def ask(player: Player, path: str = "chat/completions", **more: Any) -> httpx.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": "Rain?"}], "input": "Rain?", **more}
    return await player.client.post(f"{player.opened['proxy_url']}/{path}", json=body)


async def only(store: Store, run: str) -> Trajectory:
    (trajectory,) = [each async for each in store.runs.trajectories(run)]
    return trajectory


async def ended(store: Store, run: str) -> Trajectory:
    """The trajectory of the run's only episode, once that has ended by itself."""

    async def is_over() -> bool:
        return bool(await store.runs.done(run))

    await eventually(is_over)
    return await only(store, run)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ask_by_sdk", [ask_chat, ask_responses, ask_anthropic])
@pytest.mark.parametrize("answer", ["No.", None])
async def test_a_call_after_finish_gets_closing_words(
    server: Running, store: Store, llm: LLMServer, ask_by_sdk: Any, stream: bool, answer: str | None
) -> None:
    """In each API, whole and as a stream; no model is asked, nothing is counted."""
    player = await open_episode(server, run="r")
    await player.finish(answer)
    said = [await ask_by_sdk(player, stream=stream) for _ in range(2)]

    assert [CLOSING_WORDS] * 2 == said
    trajectory = await only(store, "r")
    assert (0, 0, answer or "") == (llm.count, trajectory.usage.model_calls, trajectory.final_answer)


async def test_closing_words_come_for_a_while_and_after_a_finish_alone(
    server: Running, store: Store, llm: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a failed model decided how the episode counts; not after a budget, nor for embeddings."""
    llm.answer(status(500, "broken"))
    spoiled = await open_episode(server, run="spoiled")
    await ask(spoiled)
    await spoiled.finish("No.")
    spent = await open_episode(server, run="spent", budget={"max_tool_calls": 1})
    await spent.call()
    await spent.call()
    after_failure, after_budget = await ask(spoiled), await ask(spent)
    vectors = await ask(spoiled, "embeddings")
    legacy = await ask(spoiled, "completions", prompt="Rain?")
    monkeypatch.setattr("stb_server.episodes.service._CLOSING_S", -1.0)
    late = await ask(spoiled)

    assert StopReason.INFRASTRUCTURE == (await only(store, "spoiled")).stop
    assert (200, "true") == (after_failure.status_code, after_failure.headers["x-stb-closing"])
    assert CLOSING_WORDS == legacy.json()["choices"][0]["text"]
    assert [409, 409, 409] == [answer.status_code for answer in (after_budget, vectors, late)]


@pytest.mark.parametrize("api", [ModelApi.CHAT, ModelApi.RESPONSES, ModelApi.MESSAGES])
async def test_an_agent_with_its_own_function_is_closed_by_a_call_of_it(
    server: Running, llm: LLMServer, api: ModelApi
) -> None:
    """Its required arguments are there, so that it ends as it does by itself."""
    player = await open_episode(server, finish="text", answer_function="submit")
    await player.finish("No.")
    whole = (await ask(player, api.value, tools=[SUBMIT[api.value]])).json()
    streamed = await ask(player, api.value, tools=[SUBMIT[api.value]], stream=True)

    if api is ModelApi.CHAT:
        given = json.loads(whole["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"])
    elif api is ModelApi.RESPONSES:
        given = json.loads(whole["output"][0]["arguments"])
    else:
        given = whole["content"][0]["input"]
    assert {"answer": CLOSING_WORDS, "sure": False} == given
    assert "submit" in streamed.text
    assert 0 == llm.count


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ask_by_sdk", [ask_chat, ask_responses, ask_anthropic])
async def test_the_last_words_are_the_answer(
    server: Running, store: Store, llm: LLMServer, ask_by_sdk: Any, stream: bool
) -> None:
    """Without a call of Finish; thoughts are no part of it, and the record says where it is from."""
    llm.answer(text("<think>Let me see.</think>\nIt does not rain."))
    player = await open_episode(server, run="r", finish="text")
    await player.call()
    await ask_by_sdk(player, stream=stream)
    trajectory = await ended(store, "r")

    assert (StopReason.ANSWERED, "It does not rain.", "text") == (
        trajectory.stop,
        trajectory.final_answer,
        trajectory.answer_source,
    )
    assert ["current_for_sky_watch"] == [step.function for step in trajectory.steps]
    assert ("assistant", "It does not rain.") == (
        trajectory.messages[-1].role,
        trajectory.messages[-1].content,
    )
    assert CLOSING_WORDS == await ask_by_sdk(player, stream=stream)
    assert "text" == (await store.runs.get("r")).manifest.agent_settings["finish"]


@pytest.mark.parametrize("path", ["chat/completions", "responses", "messages"])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_agents_own_function_is_the_answer(
    server: Running, store: Store, llm: LLMServer, path: str, stream: bool
) -> None:
    """Whatever is said after it."""
    llm.answer(calls(("look", {}), ("submit", {"answer": "No."})), text("Handed in."))
    player = await open_episode(server, run="r", finish="text", answer_function="submit")
    for _ in range(2):
        await ask(player, path, stream=stream, tools=[SUBMIT[path]])
    trajectory = await ended(store, "r")

    assert ("No.", "function", 2) == (
        trajectory.final_answer,
        trajectory.answer_source,
        trajectory.usage.model_calls,
    )


async def test_only_the_last_words_with_functions_count(
    server: Running, store: Store, llm: LLMServer
) -> None:
    """Not a title that is asked for without functions, nor words before a further call; the finish takes them at once."""
    llm.answer(text("I think so."), call("look"), text("A title"), text("It does not rain."), text("Weather"))
    player = await open_episode(server, run="r", finish="text")
    await ask(player, tools=TOOLS)
    await ask(player, tools=TOOLS)
    between = (await player.show())["status"]
    await ask(player)
    await ask(player, tools=TOOLS)
    await ask(player)
    end = await player.client.post(f"{player.path}/finish", json={}, headers=player.headers)

    assert ("open", "answered", "It does not rain.") == (
        between,
        end.json()["stop"],
        end.json()["final_answer"],
    )
    page = await player.client.get("/runs/r/G1_tool/1")
    assert "This answer was taken from the last words of its model." in page.text


async def test_an_agent_that_says_nothing_has_no_answer(
    server: Running, store: Store, llm: LLMServer
) -> None:
    """It ended without one; with an answer of the client's own, that one counts, and Finish works as ever."""
    stops = []
    for run, body in (("nothing", {}), ("given", {"answer": "Mine."}), ("given up", {"answer": None})):
        llm.answer(call("look"))
        player = await open_episode(server, run=run, finish="text")
        await ask(player, tools=TOOLS)
        end = await player.client.post(f"{player.path}/finish", json=body, headers=player.headers)
        stops.append((end.json()["stop"], end.json()["final_answer"]))

    assert [("no_finish", ""), ("answered", "Mine."), ("gave_up", "")] == stops


async def test_the_time_that_is_up_takes_no_answer_away(
    server: Running, store: Store, llm: LLMServer
) -> None:
    """What was said before the time was up counts."""
    llm.answer(text("No."))
    server.app.state.episodes.accounting.text_settles_s = 60.0
    player = await open_episode(server, run="r", finish="text", budget={"max_seconds": 2.0})
    await ask(player)
    trajectory = await ended(store, "r")

    assert (StopReason.ANSWERED, "No.") == (trajectory.stop, trajectory.final_answer)


async def test_words_are_kept_only_where_they_may_be_the_answer(
    server: Running, store: Store, llm: LLMServer
) -> None:
    """Elsewhere nothing that a model says is stored, and the older form of the record is unchanged."""
    llm.answer(text("A secret."))
    player = await open_episode(server, run="r")
    await ask(player)
    missing = await player.client.post(f"{player.path}/finish", json={}, headers=player.headers)
    await player.finish("No.")
    trajectory = await only(store, "r")

    assert 422 == missing.status_code
    assert "The member answer is missing" in missing.json()["error"]
    assert "A secret." not in repr(await store.episode_records.find(id=player.opened["id"]))
    assert "answer_source" not in trajectory.model_dump()
    assert "finish" not in (await store.runs.get("r")).manifest.agent_settings


async def test_what_contradicts_itself_is_refused(
    server: Running, sqlite_store: Store, sqlite_store_url: str
) -> None:
    """A function for the answer without finish=text, and words that no proxy could hear."""
    asked = {"query_id": "1", "answer_function": "submit"}
    without_text = await server.client.post("/v1/episodes", json=asked)
    await put_dataset(sqlite_store)
    async with serving(sqlite_store_url) as other:
        without_proxy = await other.client.post("/v1/episodes", json={"query_id": "1", "finish": "text"})

    assert [(400, "no_text"), (400, "no_proxy")] == [
        (answer.status_code, answer.json()["type"]) for answer in (without_text, without_proxy)
    ]


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ('{"answer": "No."}', "No."),
        ('{"response": {"rain": false}}', '{"rain":false}'),
        ('{"rain": false, "why": "dry"}', '{"rain":false,"why":"dry"}'),
        ("No", "No"),
        ("{}", "{}"),
    ],
)
def test_the_answer_in_arguments(arguments: str, answer: str) -> None:
    """The only one, else all of them."""
    assert answer == answer_in_arguments(arguments)


async def test_openais_client_reads_a_stream_of_closing_words(server: Running, llm: LLMServer) -> None:
    """With the usage that it asked for, which is nothing."""
    player = await open_episode(server)
    await player.finish("No.")
    async with openai.AsyncOpenAI(base_url=player.opened["proxy_url"], api_key="x") as client:
        question: Any = [{"role": "user", "content": "?"}]
        stream = await client.chat.completions.create(
            model="m", messages=question, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]

    assert chunks[-1].usage
    assert 0 == chunks[-1].usage.total_tokens
