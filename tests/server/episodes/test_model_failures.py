"""An episode whose model's endpoint refuses or fails ends by the rule that holds for every agent."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from llm_server import Answer, LLMServer, call, raw, status, text
from stb_core.store import Store
from stb_core.values.trajectories import StopReason
from virtual_server import Running

from .conftest import Player, open_episode, put_dataset, serving

NO_TOOLS = '"auto" tool choice requires --enable-auto-tool-choice'
TOO_LONG = "This model's maximum context length is 4096 tokens."
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Rain?"}], "tools": TOOLS}
ERROR_IN_STREAM = b'data: {"error": {"message": "boom", "code": 500}}\n\n'
ERROR_WITHIN = json.dumps({"error": {"message": "No endpoints found", "code": 503}}).encode()
BLOCKED = Answer({"role": "assistant", "content": None}, finish_reason="content_filter")


@pytest.fixture
async def server(store: Store, store_url: str, llm: LLMServer) -> AsyncGenerator[Running]:
    """A server that hands model calls on to the scripted one."""
    await put_dataset(store)
    async with serving(store_url, proxy="stub", environment={"STUB_BASE_URL": llm.url}) as started:
        yield started


async def ask(player: Player, **more: Any) -> httpx.Response:
    return await player.client.post(f"{player.opened['proxy_url']}/chat/completions", json={**BODY, **more})


async def ends(store: Store) -> list[StopReason]:
    return [one.stop for one in await store.runs.done("r")]


@pytest.mark.parametrize("answer", ["I know it all.", None])
@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (status(400, NO_TOOLS), 'stub/m does not accept the request: HTTP 400, "auto" tool choice'),
        (status(400, TOO_LONG), "maximum context length"),
        (status(401, "sk-secret"), "stub/m is not available: the key was refused with HTTP 401."),
        (status(503, "overloaded"), "stub/m is not available: HTTP 503, overloaded."),
        (raw(b"<html>"), "its answer is not a completion"),
        (raw(ERROR_WITHIN), "stub/m is not available: HTTP 503, No endpoints found."),
        (BLOCKED, "its content filter blocked the reply"),
    ],
)
async def test_an_endpoint_that_never_answered_is_infrastructure(
    server: Running, store: Store, llm: LLMServer, failure: Answer, words: str, answer: str | None
) -> None:
    """Whatever the agent made of it, nothing was measured; the trial can be repeated."""
    llm.rule = lambda _: failure
    player = await open_episode(server, run="r")
    await ask(player)

    ended = await player.finish(answer)

    assert (200, "infrastructure", "") == (
        ended.status_code,
        ended.json()["stop"],
        ended.json()["final_answer"],
    )
    assert words in ended.json()["error"]
    assert [StopReason.INFRASTRUCTURE] == await ends(store)
    await open_episode(server, run="r")


@pytest.mark.parametrize(
    ("words", "stop"), [(TOO_LONG, "context_exceeded"), ("content policy", "content_filter")]
)
async def test_a_refusal_while_others_are_accepted_is_a_result(
    server: Running, store: Store, llm: LLMServer, words: str, stop: str
) -> None:
    """With a stop reason of its own; it counts, and the trial has its result."""
    llm.answer(call("f"), status(400, words))
    first, second = (
        await open_episode(server, run="r"),
        await open_episode(server, "2", group="G1_tool", run="r"),
    )
    await ask(first)
    await first.finish("Rain.")
    await ask(second)

    ended = await second.finish(None)

    assert (200, stop) == (ended.status_code, ended.json()["stop"])
    assert [StopReason.ANSWERED, StopReason(stop)] == await ends(store)


@pytest.mark.parametrize("after", [status(400, TOO_LONG), status(400, NO_TOOLS)])
async def test_an_answer_after_replies_stands(server: Running, llm: LLMServer, after: Answer) -> None:
    """The model has been asked; what the agent made of a refusal then is its own."""
    llm.answer(call("f"), after)
    player = await open_episode(server, run="r")
    await ask(player)
    await ask(player)

    assert "answered" == (await player.finish("Rain.")).json()["stop"]


async def test_a_failure_that_was_repeated_is_over(server: Running, llm: LLMServer) -> None:
    """Only the last call of the model decides."""
    llm.answer(status(503), status(429), text("Rain."))
    player = await open_episode(server, run="r")
    for _ in range(3):
        await ask(player)

    assert "answered" == (await player.finish("Rain.")).json()["stop"]


@pytest.mark.parametrize(
    "content",
    [
        {"choices": {"a": 1}},
        {"choices": [{"finish_reason": "content_filter", "message": "x"}]},
        {"choices": [None]},
        {"choices": "none"},
    ],
)
async def test_an_odd_answer_is_handed_on(server: Running, llm: LLMServer, content: Any) -> None:
    """The agent gets what its provider said, and the episode goes on."""
    llm.answer(raw(json.dumps(content).encode()), text("Rain."))
    player = await open_episode(server, run="r")
    odd, usual = await ask(player), await ask(player)

    assert ([200, 200], content) == ([odd.status_code, usual.status_code], odd.json())
    assert "answered" == (await player.finish("Rain.")).json()["stop"]


async def test_an_error_within_a_stream_is_a_failure(server: Running, llm: LLMServer) -> None:
    """It is counted, as the provider may have counted it, and the agent sees it as it came."""
    llm.answer(raw(ERROR_IN_STREAM))
    player = await open_episode(server, run="r")

    streamed = await ask(player, stream=True)

    assert ERROR_IN_STREAM == streamed.content
    assert 1 == (await player.show())["usage"]["model_calls"]
    ended = (await player.finish("Rain.")).json()
    assert ("infrastructure", True) == (ended["stop"], "boom" in ended["error"])


@pytest.mark.parametrize("choices", ["null", "[]"])
async def test_usage_that_nobody_asked_for_is_hidden(server: Running, llm: LLMServer, choices: str) -> None:
    """However its event says that it has nothing else."""
    words = 'data: {"choices":[{"index":0,"delta":{"content":"No."}}]}\n\n'
    usage = f'data: {{"choices":{choices},"usage":{{"prompt_tokens":7.0,"completion_tokens":"3"}}}}\n\n'
    end = "data: [DONE]\n\n"
    llm.answer(raw((words + usage + end).encode()))
    player = await open_episode(server)

    streamed = await ask(player, stream=True)

    used = (await player.show())["usage"]
    assert (words + end, 7, 3) == (streamed.text, used["prompt_tokens"], used["completion_tokens"])


async def test_usage_may_stand_in_an_addition_of_the_provider(server: Running, llm: LLMServer) -> None:
    """As Groq sends it, in the last event; that event is the client's as well."""
    last = '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"x_groq":{"usage":{"prompt_tokens":7,"completion_tokens":3}}}'
    llm.answer(raw(f"data: {last}\n\ndata: [DONE]\n\n".encode()))
    player = await open_episode(server)

    streamed = await ask(player, stream=True)

    used = (await player.show())["usage"]
    assert (True, 7, 3) == (last in streamed.text, used["prompt_tokens"], used["completion_tokens"])
