"""Each API that clients of 2026 speak is handed on and counted to the token, by their own SDKs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import openai
import pytest

from conftest import unavailable
from llm_server import LLMServer, raw, status, text
from stb_core.store import Store
from stb_server.episodes.model_apis import target_of
from stb_server.episodes.provider_requests import headers_for, url_of
from virtual_server import Running

from .conftest import Player, open_episode, put_dataset, serving

PRICES = {"stub/m": {"input": 1.0, "output": 2.0, "cached_input": 0.5}}
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}
COST = (6 * 1.0 + 4 * 0.5 + 5 * 2.0) / 1e6
QUESTION: Any = [{"role": "user", "content": "Rain?"}]


@pytest.fixture
async def server(store: Store, store_url: str, llm: LLMServer) -> AsyncGenerator[Running]:
    """A server that hands model calls on to the scripted one, by a key of its own."""
    await put_dataset(store)
    environment = {"STUB_BASE_URL": llm.url, "STUB_API_KEY": "sk-of-the-server"}
    async with serving(store_url, proxy="stub", environment=environment, prices=PRICES) as started:
        yield started


async def used(player: Player) -> list[Any]:
    usage = (await player.show())["usage"]
    return [usage[name] for name in ("model_calls", "prompt_tokens", "completion_tokens", "cached_tokens")]


def anthropic_client(player: Player, *, base: str = "", **more: Any) -> Any:
    try:
        import anthropic  # noqa: PLC0415 - may be missing
    except ImportError:
        unavailable("the package anthropic")
    return anthropic.AsyncAnthropic(
        base_url=base or player.opened["proxy_url"], **(more or {"api_key": "sk-of-the-agent"})
    )


async def ask_chat(player: Player, *, stream: bool) -> str:
    async with openai.AsyncOpenAI(base_url=player.opened["proxy_url"], api_key="sk-of-the-agent") as client:
        if not stream:
            reply = await client.chat.completions.create(model="m", messages=QUESTION)
            return reply.choices[0].message.content or ""
        chunks = await client.chat.completions.create(model="m", messages=QUESTION, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])


async def ask_responses(player: Player, *, stream: bool) -> str:
    async with openai.AsyncOpenAI(base_url=player.opened["proxy_url"], api_key="sk-of-the-agent") as client:
        if not stream:
            return (await client.responses.create(model="m", input="Rain?")).output_text
        async with client.responses.stream(model="m", input="Rain?") as events:
            return (await events.get_final_response()).output_text


async def ask_anthropic(player: Player, *, stream: bool) -> str:
    async with anthropic_client(player) as client:
        asked: Any = {"model": "m", "messages": QUESTION, "max_tokens": 50}
        if not stream:
            return (await client.messages.create(**asked)).content[0].text
        async with client.messages.stream(**asked) as events:
            return await events.get_final_text()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ask", [ask_chat, ask_responses, ask_anthropic])
async def test_an_sdk_is_counted_to_the_token(
    server: Running, llm: LLMServer, ask: Any, stream: bool
) -> None:
    """Calls, tokens, those read from a cache, and cost; the next call is refused where they spend the budget."""
    llm.answer(text("It does not rain.", usage=USAGE), text("No.", usage=USAGE))
    player = await open_episode(server, model="stub/m", budget={"max_tokens": 30})

    assert "It does not rain." == await ask(player, stream=stream)
    assert [1, 10, 5, 4] == await used(player)
    assert "No." == await ask(player, stream=stream)
    assert (await player.show())["usage"]["cost_usd"] == pytest.approx(2 * COST)
    assert {"Bearer sk-of-the-server"} == {headers["authorization"] for headers in llm.headers}
    with pytest.raises(Exception, match="The episode has ended: max_tokens") as refused:
        await ask(player, stream=stream)
    assert ("ConflictError", 2) == (type(refused.value).__name__, llm.count)


async def test_anthropics_client_calls_functions(server: Running, llm: LLMServer) -> None:
    """By the tools that opening has given it, over an address with or without v1, and with its own headers."""
    player = await open_episode(server)
    shown = await server.client.get(f"{player.path}?format=anthropic", headers=player.headers)
    (first, *_) = shown.json()["tools"]
    for base in (player.opened["proxy_url"], player.opened["proxy_url"].removesuffix("/v1")):
        async with anthropic_client(player, base=base) as client:
            asked: Any = {"model": "m", "messages": QUESTION, "tools": [first], "max_tokens": 50}
            async with client.beta.messages.stream(**asked, betas=["a-beta"]) as events:
                message = await events.get_final_message()
            counted = await client.messages.count_tokens(model="m", messages=QUESTION)
            models = [model.id async for model in client.models.list()]

        (call,) = message.content
        assert ("tool_use", first["name"], True) == (
            message.stop_reason,
            call.name,
            isinstance(call.input, dict),
        )
        assert (42, ["any"]) == (counted.input_tokens, models)
    assert {("sk-of-the-server", "a-beta", True)} == {
        (each["x-api-key"], each["anthropic-beta"], "anthropic-version" in each) for each in llm.headers
    }
    assert {"/v1/messages", "/v1/messages/count_tokens", "/v1/models"} == set(llm.targets)
    assert 2 == (await player.show())["usage"]["model_calls"]


async def test_counts_beside_the_input_and_in_several_events_are_added(
    server: Running, llm: LLMServer
) -> None:
    """Anthropic's API tells what it wrote into its cache beside the input; vLLM tells the input at the end only."""
    told = {
        "input_tokens": 3,
        "cache_read_input_tokens": 4,
        "cache_creation_input_tokens": 5,
        "output_tokens": 6,
    }
    start = 'data: {"type":"message_start","message":{"usage":{"input_tokens":0,"output_tokens":0}}}\n\n'
    end = 'data: {"type":"message_delta","delta":{},"usage":{"input_tokens":8,"output_tokens":2}}\n\n'
    stop = 'data: {"type":"message_stop"}\n\n'
    llm.answer(
        raw(b'{"type": "message", "content": [], "usage": %s}' % repr(told).replace("'", '"').encode()),
        raw((start + end + stop).encode()),
    )
    player = await open_episode(server)
    body = {"model": "m", "messages": QUESTION}
    await server.client.post(f"{player.opened['proxy_url']}/messages", json=body)
    assert [1, 12, 6, 4] == await used(player)
    await server.client.post(f"{player.opened['proxy_url']}/messages", json={**body, "stream": True})
    assert [2, 20, 8, 4] == await used(player)


async def test_embeddings_are_counted(server: Running, llm: LLMServer) -> None:
    """They have a price like other calls, and no reply that could be an answer."""
    player = await open_episode(server)
    async with openai.AsyncOpenAI(base_url=player.opened["proxy_url"], api_key="x") as client:
        made = await client.embeddings.create(model="m", input=["Rain?", "Sun?"], encoding_format="float")
        models = [model.id async for model in client.models.list()]

    assert (2, ["any"]) == (len(made.data), models)
    assert [1, 9, 0, 0] == await used(player)


async def test_paths_and_queries_come_as_they_come(server: Running, llm: LLMServer) -> None:
    """Slashes in any number, v1 or none, and the query goes on to the provider."""
    llm.rule = lambda _: text("No.", usage=USAGE)
    player = await open_episode(server)
    base, body = player.opened["proxy_url"], {"model": "m", "messages": QUESTION}
    paths = ["/chat/completions/?api-version=2026-01-01", "//chat/completions", "/v1/chat/completions"]
    bare = base.removesuffix("/v1")
    answers = [await server.client.post(f"{base}{path}", json=body) for path in paths]
    answers.append(await server.client.post(f"{bare}/chat//completions", json=body))
    listed = await server.client.get(f"{bare}/models/")

    assert {200} == {answer.status_code for answer in (*answers, listed)}
    plain = "/v1/chat/completions"
    assert [f"{plain}?api-version=2026-01-01", plain, plain, plain, "/v1/models"] == llm.targets


async def test_refusals_have_the_form_of_the_api(server: Running, llm: LLMServer) -> None:
    """The proxy's own as Anthropic writes them, with the advice not to retry; the provider's as they are."""
    player = await open_episode(server)
    base, body = player.opened["proxy_url"], {"model": "m", "messages": QUESTION}
    llm.answer(status(529, "overloaded"))
    overloaded = await server.client.post(f"{base}/messages", json=body)
    await server.client.post(f"{base}/chat/completions", json=body)
    await player.finish(None)
    unknown = await server.client.post(f"{server.url}/proxy/e/nobodys/v1/messages", json=body)

    assert (529, "overloaded") == (overloaded.status_code, overloaded.json()["error"]["message"])
    assert ("error", "unauthorized", "false") == (
        unknown.json()["type"],
        unknown.json()["error"]["type"],
        unknown.headers["x-should-retry"],
    )


@pytest.mark.parametrize("key", [None, "sk-server"])
def test_keys_go_where_each_api_looks_for_them(key: str | None) -> None:
    """The caller's only where the server has none; Anthropic's own host gets no bearer's token."""
    target = target_of("POST", "v1/messages")
    assert target
    own = url_of("https://api.anthropic.com", target, "beta=true")
    other = url_of("http://127.0.0.1:8000/v1/", target, "")
    given = {"x-api-key": "sk-caller", "anthropic-beta": "b", "cookie": "c"}
    sent = [headers_for(url, target, given, key) for url in (own, other)]

    assert "https://api.anthropic.com/v1/messages?beta=true" == own
    assert "http://127.0.0.1:8000/v1/messages" == other
    assert {key or "sk-caller"} == {headers["x-api-key"] for headers in sent}
    bearer = "Bearer sk-server" if key else None
    assert [None, bearer] == [headers.get("authorization") for headers in sent]
    assert {"content-type", "anthropic-beta", "x-api-key"} == set(sent[0])
