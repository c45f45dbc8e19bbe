"""An outside agent's model calls are handed on and counted in its episode, with no change but the address."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import openai
import pytest

from llm_server import Answer, LLMServer, drop, raw, status, text
from stb_core.store import Store
from stb_core.values.episodes import ProxiedCall
from stb_core.values.trajectories import StopReason
from virtual_server import Running, eventually

from .conftest import Player, open_episode, put_dataset, serving

PRICES = {"stub/m": {"input": 1.0, "output": 2.0}}
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}
QUESTION: Any = [{"role": "user", "content": "Rain?"}]
RESPONSE = {
    "id": "r",
    "object": "response",
    "usage": {"input_tokens": 7, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 2}},
}


@pytest.fixture
async def server(store: Store, store_url: str, llm: LLMServer) -> AsyncGenerator[Running]:
    """A server that hands model calls on to the scripted one, by a key of its own."""
    await put_dataset(store)
    environment = {"STUB_BASE_URL": llm.url, "STUB_API_KEY": "sk-of-the-server"}
    async with serving(store_url, proxy="stub", environment=environment, prices=PRICES) as started:
        yield started


def client_of(player: Player) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=player.opened["proxy_url"], api_key="sk-of-the-agent")


async def used(player: Player, *members: str) -> list[int]:
    usage = (await player.show())["usage"]
    return [usage[member] for member in members]


async def test_a_call_is_counted_in_the_trajectory(server: Running, store: Store, llm: LLMServer) -> None:
    """Calls, tokens and cost; the server's key goes to the provider, the agent's stays here."""
    llm.answer(text("No.", usage=USAGE), text("No.", usage=USAGE))
    player = await open_episode(server, run="r")
    async with client_of(player) as client:
        for _ in range(2):
            reply = await client.chat.completions.create(model="m", messages=QUESTION)
    await player.finish("No.")

    assert "No." == reply.choices[0].message.content
    assert {"Bearer sk-of-the-server"} == {headers["authorization"] for headers in llm.headers}
    (trajectory,) = [t async for t in store.runs.trajectories("r")]
    usage = trajectory.usage
    assert (2, 20, 10, 8) == (
        usage.model_calls,
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.cached_tokens,
    )
    assert usage.cost_usd == pytest.approx(2 * (10 * 1.0 + 5 * 2.0) / 1e6)
    assert ("stub/m", True) == (trajectory.model, trajectory.timing.model_seconds > 0)


@pytest.mark.parametrize("asks", [False, True])
async def test_a_stream_is_counted_before_its_end_is_seen(
    server: Running, llm: LLMServer, asks: bool
) -> None:
    """The client sees just what it asked for, word for word; tokens are counted either way."""
    llm.answer(text("It does not rain in Bonn.", usage=USAGE))
    player = await open_episode(server)
    more: Any = {"stream_options": {"include_usage": True}} if asks else {}
    async with client_of(player) as client:
        stream = await client.chat.completions.create(model="m", messages=QUESTION, stream=True, **more)
        chunks = [chunk async for chunk in stream]

    words = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "It does not rain in Bonn." == "".join(words)
    assert [asks] == list({not chunk.choices for chunk in chunks[-1:]})
    assert [1, 10, 5] == await used(player, "model_calls", "prompt_tokens", "completion_tokens")


@pytest.mark.parametrize(
    "given", [None, {}, {"include_usage": False}, {"include_usage": None, "include_obfuscation": False}]
)
async def test_a_client_cannot_keep_a_stream_from_being_counted(
    server: Running, llm: LLMServer, given: Any
) -> None:
    """The provider is asked for the usage whatever the client says, which is not shown what it did not want."""
    llm.answer(text("No.", usage=USAGE))
    player = await open_episode(server, budget={"max_tokens": 15})
    path = f"{player.opened['proxy_url']}/chat/completions"
    body = {"model": "m", "messages": QUESTION, "stream": True, "stream_options": given}
    streamed = await server.client.post(path, json=body)
    late = await server.client.post(path, json=body)

    assert [{**(given or {}), "include_usage": True}] == [one["stream_options"] for one in llm.requests]
    assert (200, False) == (streamed.status_code, '"choices": []' in streamed.text)
    assert [10, 5] == await used(player, "prompt_tokens", "completion_tokens")
    assert (409, "ended") == (late.status_code, late.json()["error"]["type"])


@pytest.mark.parametrize("given", [None, {"include_usage": False}])
async def test_an_endpoint_that_cannot_count_is_asked_as_the_client_asked(
    server: Running, llm: LLMServer, given: Any
) -> None:
    """What the client said of the stream is said again, and nothing else."""
    llm.answer(status(400, "unknown member: stream_options.include_usage"), text("No."))
    player = await open_episode(server)
    body = {"model": "m", "messages": QUESTION, "stream": True, "stream_options": given}
    streamed = await server.client.post(f"{player.opened['proxy_url']}/chat/completions", json=body)

    assert (200, body) == (streamed.status_code, llm.requests[-1])
    assert 2 == llm.count


async def test_an_endpoint_that_cannot_count_a_stream_is_not_asked_to(
    server: Running, llm: LLMServer
) -> None:
    """The agent gets its stream; the call is counted, its tokens cannot be. Other refusals pass as they are."""
    unknown = status(422, "body.stream_options: extra fields are not permitted")
    llm.answer(unknown, text("No."), status(400, "no such model"))
    player = await open_episode(server)
    path = f"{player.opened['proxy_url']}/chat/completions"
    body = {"model": "m", "messages": QUESTION, "stream": True}
    streamed = await server.client.post(path, json=body)
    refused = await server.client.post(path, json=body)

    assert (200, True, 400) == (streamed.status_code, "[DONE]" in streamed.text, refused.status_code)
    assert [True, False, True] == ["stream_options" in request for request in llm.requests]
    assert [1, 0] == await used(player, "model_calls", "prompt_tokens")


@pytest.mark.parametrize("stream", [False, True])
async def test_responses_are_counted_too(server: Running, llm: LLMServer, stream: bool) -> None:
    """OpenAI's other API, whole and as a stream of events."""
    event = {"type": "response.completed", "response": RESPONSE}
    body = f"event: response.completed\ndata: {json.dumps(event)}\n\n" if stream else json.dumps(RESPONSE)
    llm.answer(raw(body.encode()))
    player = await open_episode(server)
    path = f"{player.opened['proxy_url']}/responses"
    answer = await server.client.post(path, json={"model": "m", "input": "Rain?", "stream": stream})

    assert body == answer.text
    members = "model_calls", "prompt_tokens", "completion_tokens", "cached_tokens"
    assert [1, 7, 3, 2] == await used(player, *members)


async def test_a_refused_call_passes_through_and_is_not_counted(server: Running, llm: LLMServer) -> None:
    """With the provider's own status, words and advice; also where it breaks off or is gone."""
    llm.answer(status(429, "slow down", retry_after=7), drop())
    player = await open_episode(server, budget={"max_model_calls": 1})
    path, body = f"{player.opened['proxy_url']}/chat/completions", {"model": "m", "messages": QUESTION}
    refused = await server.client.post(path, json=body)
    broken = await server.client.post(path, json=body)
    answered = await server.client.post(path, json=body)

    assert (429, "7", "slow down") == (
        refused.status_code,
        refused.headers["retry-after"],
        refused.json()["error"]["message"],
    )
    assert (502, "provider_unavailable") == (broken.status_code, broken.json()["error"]["type"])
    assert (200, [1]) == (answered.status_code, await used(player, "model_calls"))


async def test_budgets_of_model_calls_end_an_episode(server: Running, store: Store, llm: LLMServer) -> None:
    """By calls, tokens and money, with the stop reasons of built-in agents; clients do not try again."""
    llm.rule = lambda _: text("No.", usage=USAGE)
    for name, limit in (("max_model_calls", 1), ("max_tokens", 15), ("max_cost_usd", 0.00001)):
        player = await open_episode(server, run=name, model="stub/m", budget={name: limit})
        async with client_of(player) as client:
            await client.chat.completions.create(model="m", messages=QUESTION)
            with pytest.raises(openai.ConflictError, match="The episode has ended: max_"):
                await client.chat.completions.create(model="m", messages=QUESTION)

    assert [[StopReason.MAX_MODEL_CALLS], [StopReason.MAX_TOKENS], [StopReason.MAX_COST]] == [
        [one.stop for one in await store.runs.done(run)]
        for run in ("max_model_calls", "max_tokens", "max_cost_usd")
    ]
    assert 3 == llm.count


async def test_a_model_without_a_price_is_refused_where_cost_is_limited(
    server: Running, llm: LLMServer
) -> None:
    """Whatever model was announced: what costs nobody knows how much would not count."""
    player = await open_episode(server, model="stub/m", budget={"max_cost_usd": 1.0})
    free = await open_episode(server, model="stub/m")
    body = {"model": "other", "messages": QUESTION}
    refused, answered = [
        await server.client.post(f"{each.opened['proxy_url']}/chat/completions", json=body)
        for each in (player, free)
    ]

    error = refused.json()["error"]
    assert (400, "no_price", True) == (refused.status_code, error["type"], "'stub/other'" in error["message"])
    assert "[prices]" in error["message"]
    assert (200, 1) == (answered.status_code, llm.count)
    assert [0] == await used(player, "model_calls")


@pytest.mark.parametrize("code", [200, 429])
async def test_waiting_for_the_model_is_not_being_left_alone(
    store: Store, store_url: str, llm: LLMServer, code: int
) -> None:
    """The episode goes on while its model takes long, and after it: with an answer, or a refusal."""
    await put_dataset(store)
    llm.answer(Answer({"role": "assistant", "content": "No."}, status=code, delay_s=4.5))
    environment = {"STUB_BASE_URL": llm.url}
    async with serving(store_url, proxy="stub", environment=environment, episode_idle_s=3.0) as server:
        player = await open_episode(server)
        path, body = f"{player.opened['proxy_url']}/chat/completions", {"model": "m", "messages": QUESTION}
        asking = asyncio.create_task(server.client.post(path, json=body))
        await asyncio.sleep(4)
        called = await player.call()  # beside it
        answered = await asking

        assert (200, code, "open") == (
            called.status_code,
            answered.status_code,
            (await player.show())["status"],
        )


@pytest.mark.parametrize(("code", "stop"), [(200, StopReason.EXPIRED), (429, StopReason.INFRASTRUCTURE)])
async def test_after_the_model_it_is_the_agents_turn(
    store: Store, store_url: str, llm: LLMServer, code: int, stop: StopReason
) -> None:
    """Its time begins afresh with the answer or the refusal, and runs out then; a provider that failed is to blame."""
    await put_dataset(store)
    llm.answer(Answer({"role": "assistant", "content": "No."}, status=code, delay_s=3.0))
    environment = {"STUB_BASE_URL": llm.url}
    async with serving(store_url, proxy="stub", environment=environment, episode_idle_s=2.0) as server:
        player = await open_episode(server, run="r")
        path, body = f"{player.opened['proxy_url']}/chat/completions", {"model": "m", "messages": QUESTION}
        await server.client.post(path, json=body)
        shown = await player.show()

        async def is_over() -> bool:
            return [one.stop for one in await store.runs.done("r")] == [stop]

        assert "open" == shown["status"]
        await eventually(is_over)


async def test_a_model_call_that_was_cut_off_keeps_no_episode_open(store: Store, store_url: str) -> None:
    """What a dying worker left is not waited for; the agent never got the reply, which is not its failure."""
    await put_dataset(store)
    async with serving(store_url, episode_idle_s=1.0) as server:
        records, books = store.episode_records, server.app.state.episodes.accounting
        books.longest_model_call_s = 0.2
        player = await open_episode(server, run="r")
        episode = await records.find(id=player.opened["id"])
        assert episode
        await books.begin(episode, "model", ProxiedCall(model="stub/m").model_dump_json())

        async def is_over() -> bool:
            return [one.stop for one in await store.runs.done("r")] == [StopReason.INFRASTRUCTURE]

        await eventually(is_over)


@pytest.mark.parametrize(("given_s", "waits_s"), [(None, 600.0), (60.0, 600.0), (900.0, 900.0)])
async def test_a_slow_model_is_waited_for(
    sqlite_store: Store, sqlite_store_url: str, given_s: float | None, waits_s: float
) -> None:
    """For ten minutes, or longer where that was asked for: the client has a timeout of its own."""
    await put_dataset(sqlite_store)
    async with serving(sqlite_store_url, model_timeout_s=given_s) as server:
        books = server.app.state.episodes.accounting

    assert waits_s == books.longest_model_call_s


async def test_a_client_that_goes_away_has_still_called(server: Running, llm: LLMServer) -> None:
    """The call is on record, without tokens where the provider had not told them."""
    llm.answer(text("words " * 20_000))
    player = await open_episode(server)
    async with client_of(player) as client:
        stream = await client.chat.completions.create(model="m", messages=QUESTION, stream=True)
        async for _ in stream:
            break
        await stream.close()

    async def is_noted() -> bool:
        return await used(player, "model_calls") == [1]

    await eventually(is_noted)


async def test_a_stream_that_breaks_off_breaks_off(
    server: Running, llm: LLMServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The client learns of it as it would from the provider; the call is on record, the log has no traceback."""
    llm.answer(Answer(body=b'data: {"choices": [{"delta": {"content": "It"}}]}\n\n', drop=True))
    player = await open_episode(server)
    path = f"{player.opened['proxy_url']}/chat/completions"
    body = {"model": "m", "messages": QUESTION, "stream": True}
    with pytest.raises(httpx.RemoteProtocolError):
        await server.client.post(path, json=body)

    async def is_noted() -> bool:
        return await used(player, "model_calls") == [1]

    await eventually(is_noted)
    warnings = [one.getMessage() for one in caplog.records if one.name.endswith("episodes.model_proxy")]
    assert ["a model call was interrupted"] == warnings
    assert not [one for one in caplog.records if one.exc_info]


async def test_what_the_proxy_does_not_know_is_refused_by_any_method(server: Running) -> None:
    """What clients ask beside calls gets a refusal in OpenAI's form."""
    player = await open_episode(server)
    base = player.opened["proxy_url"]
    answers = [
        await server.client.get(f"{base}/models/../files"),
        await server.client.get(f"{base}/files"),
        await server.client.delete(f"{base}/files/1"),
        await server.client.get(f"{base}/chat/completions"),
    ]

    assert {(404, "unknown_path", "unknown_path")} == {
        (answer.status_code, answer.json()["error"]["type"], answer.headers["x-stb-error"])
        for answer in answers
    }
    async with client_of(player) as client:
        with pytest.raises(
            openai.NotFoundError, match="GET 'v1/files' is not supported, only GET models and"
        ):
            await client.files.list()


@pytest.mark.parametrize("stream", [False, True])
async def test_the_servers_key_does_not_come_back(server: Running, llm: LLMServer, stream: bool) -> None:
    """A provider that repeats the key, in whatever spelling, tells it to no agent."""
    key = "".join(f"\\u{ord(char):04x}" for char in "sk-of-the-server")
    choice = (
        f'{{"index": 0, "{"delta" if stream else "message"}": {{"content": "{key} sk%2Dof-the-server"}}}}'
    )
    document = f'{{"id": "1", "choices": [{choice}], "usage": null}}'
    llm.answer(raw((f"data: {document}\n\ndata: [DONE]\n\n" if stream else document).encode()))
    player = await open_episode(server)

    answer = await server.client.post(
        f"{player.opened['proxy_url']}/chat/completions",
        json={"model": "m", "messages": QUESTION, "stream": stream},
    )

    said = json.loads(answer.text.split("\n\n")[0].removeprefix("data: "))["choices"][0]
    assert "*** ***" == said["delta" if stream else "message"]["content"]


async def test_the_agents_own_key_is_used_where_the_server_has_none(
    sqlite_store: Store, sqlite_store_url: str, llm: LLMServer, caplog: pytest.LogCaptureFixture
) -> None:
    """And it is neither kept nor logged, like what is said to the model."""
    await put_dataset(sqlite_store)
    environment = {"STUB_BASE_URL": llm.url}
    async with serving(sqlite_store_url, proxy="stub", environment=environment) as server:
        player = await open_episode(server)
        async with client_of(player) as client:
            await client.chat.completions.create(model="m", messages=QUESTION)

    assert ["Bearer sk-of-the-agent"] == [headers["authorization"] for headers in llm.headers]
    episode = await sqlite_store.episode_records.find(id=player.opened["id"])
    assert episode
    record = await sqlite_store.episode_records.record(episode)
    assert record.usage.cost_usd is None
    assert "sk-of-the-agent" not in caplog.text + repr(record)


async def test_what_cannot_be_handed_on_is_refused(server: Running, store: Store, store_url: str) -> None:
    """In OpenAI's form: an unknown token or path, a body that cannot be read, a server without a provider."""
    player = await open_episode(server)
    base = player.opened["proxy_url"]
    body = {"model": "m", "messages": QUESTION}
    answers = [
        await server.client.post(f"{server.url}/proxy/e/nobodys/v1/chat/completions", json=body),
        await server.client.post(f"{base}/files", json=body),
        await server.client.post(f"{base}/chat/completions", json={"messages": QUESTION}),
        await server.client.post(
            f"{base}/chat/completions", json={**body, "stream": True, "stream_options": [1]}
        ),
        await server.client.post(f"{base}/responses", json={**body, "stream": "false"}),
    ]
    async with serving(store_url) as without:
        answers.append(await without.client.post("/proxy/e/any/v1/chat/completions", json=body))

    assert [
        (401, "unauthorized"),
        (404, "unknown_path"),
        (400, "not_json"),
        (400, "wrong_form"),
        (400, "wrong_form"),
        (501, "no_proxy"),
    ] == [(answer.status_code, answer.json()["error"]["type"]) for answer in answers]


def test_a_provider_that_nobody_knows_is_refused_at_the_start(in_process) -> None:
    """With the variable that is to be set."""
    code, said = in_process("serve", "--proxy", "nowhere", "--port", 0).said

    assert (2, "stb: The address of the provider 'nowhere' is not known. Set NOWHERE_BASE_URL to its") == (
        code,
        said.partition(" OpenAI")[0],
    )
