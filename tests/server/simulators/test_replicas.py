"""One model behind several endpoints: load, health, failover; over HTTP against scripted servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager

import pytest

import services
from llm_server import LLMServer, status, text
from stb_core.errors import ModelUnavailableError
from stb_core.llm.openai_client import OpenAIModel
from stb_core.llm.protocol import Endpoint, Request
from stb_core.llm.retries import Patience
from stb_core.values.trajectories import Message
from stb_server.simulators.replicas import Replicas
from virtual_server import eventually

ASKED = Request(messages=(Message(role="user", content="Well?"),))
PATIENT = Patience(deadline_s=120, first_wait_s=0.01, longest_wait_s=0.1)
HASTY = Patience(deadline_s=0.3, first_wait_s=0.01, longest_wait_s=0.05)


@pytest.fixture
def servers() -> Generator[list[LLMServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(LLMServer()) for _ in range(3)]


@asynccontextmanager
async def replicas(urls: list[str], patience: Patience = PATIENT) -> AsyncGenerator[Replicas]:
    models = [
        OpenAIModel(
            "vllm/any",
            Endpoint(url, None, "URL", "KEY"),
            patience=patience,
            concurrency=asyncio.Semaphore(64),
        )
        for url in urls
    ]
    async with Replicas(models, interval_s=0.05, timeout_s=30) as model:
        yield model


async def test_load_is_spread_evenly(servers: list[LLMServer]) -> None:
    """Of 30 requests at once every endpoint gets ten."""
    for server in servers:
        server.behaviour.latency_s = 0.2
        server.rule = lambda _: text("ok")

    async with replicas([server.url for server in servers]) as model:
        await asyncio.gather(*(model.complete(ASKED) for _ in range(30)))

    assert [10, 10, 10] == [server.count for server in servers]


async def test_what_a_failed_endpoint_was_paid_is_counted(servers: list[LLMServer]) -> None:
    """Its replies that could not be used are in the usage of the reply of the next one."""
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    servers[0].answer(text("{}"), status(401, "bad key"))
    servers[1].rule = lambda _: text('{"ok": true}')

    async with replicas([servers[0].url, servers[1].url]) as model:
        reply = await model.complete(ASKED.model_copy(update={"response_schema": schema}))

    assert 2 == reply.usage.model_calls


async def test_a_slow_endpoint_gets_less(servers: list[LLMServer]) -> None:
    """Whoever is free is asked: a stream of requests goes mostly to the fast endpoint."""
    slow, fast, _ = servers
    slow.behaviour.latency_s, fast.behaviour.latency_s = 3, 0.01

    async with replicas([slow.url, fast.url]) as model:
        turns = asyncio.Semaphore(4)

        async def one() -> None:
            async with turns:
                await model.complete(ASKED)

        await asyncio.gather(*(one() for _ in range(60)))

    assert 60 == slow.count + fast.count
    assert slow.count < fast.count / 2


async def test_an_endpoint_that_is_away_is_left_out(servers: list[LLMServer]) -> None:
    """What was to go there goes elsewhere, and nothing is lost."""
    away = f"http://127.0.0.1:{services.free_port()}/v1"

    async with replicas([away, servers[0].url]) as model:
        replies = await asyncio.gather(*(model.complete(ASKED) for _ in range(20)))

    assert (20, 20) == (len(replies), servers[0].count)
    assert [False, True] == [replica.is_healthy for replica in model.replicas]


async def test_an_endpoint_that_comes_back_is_asked_again(servers: list[LLMServer]) -> None:
    """A key that is refused at first and then taken: the endpoint serves again."""
    first, second, _ = servers
    first.behaviour.required_key = "secret"

    async with replicas([first.url, second.url]) as model:
        await eventually(lambda: not model.replicas[0].is_healthy)
        first.behaviour.required_key = ""
        await eventually(lambda: model.replicas[0].is_healthy)
        await model.complete(ASKED)

    assert (1, 0) == (first.count, second.count)


async def test_a_request_leaves_an_endpoint_that_fails_under_it(servers: list[LLMServer]) -> None:
    """An endpoint that stops answering in the middle of a request loses the request to another."""
    first, second, _ = servers
    first.behaviour.latency_s = 600

    async with replicas([first.url, second.url]) as model:
        asking = asyncio.create_task(model.complete(ASKED))
        await eventually(lambda: first.count == 1)
        first.behaviour.required_key = "secret"
        await asyncio.wait_for(asking, timeout=120)

    assert (1, 1) == (first.count, second.count)


async def test_without_any_endpoint_there_is_no_answer() -> None:
    """When all are away the last trouble is told."""
    urls = [f"http://127.0.0.1:{services.free_port()}/v1" for _ in range(2)]

    async with replicas(urls, HASTY) as model:
        with pytest.raises(ModelUnavailableError, match="cannot be reached"):
            await model.complete(ASKED)


async def test_a_single_endpoint_is_borne_with_patience(servers: list[LLMServer]) -> None:
    """One endpoint alone is not looked at; overload is waited out."""
    servers[0].answer(status(429, retry_after=0), status(503), text("ok"))

    async with replicas([servers[0].url]) as model:
        reply = await model.complete(ASKED)

    assert "ok" == reply.content
