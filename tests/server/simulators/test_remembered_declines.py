"""What a simulator could not answer is not paid for again within a while."""

from __future__ import annotations

import json

import pytest

import sim_world
from llm_server import LLMServer, text
from sim_world import call
from stb_core.llm.protocol import Endpoint
from stb_core.store import Store
from stb_core.usage import Usage
from stb_core.values.provenance import CacheMode
from stb_server.calls.answers import Answer, CallRequest, Decline
from stb_server.simulators import remembered_declines
from stb_server.simulators.options import SimulatorOptions
from stb_server.simulators.remembered_declines import REMEMBERED_S, RememberedDeclines
from stb_server.worker.options import ServerOptions
from virtual_server import running

PAID = Usage(model_calls=3, prompt_tokens=30)


class Declining:
    """A simulator that declines everything, and counts."""

    def __init__(self, kind: str = "simulator_unreadable") -> None:
        self.kind = kind
        self.asked = 0

    async def answer(self, request: CallRequest) -> Answer | Decline:
        """Nothing."""
        self.asked += 1
        return Decline(self.kind, "no", PAID)


async def test_the_same_call_is_asked_once_and_again_after_a_while(sqlite_store: Store) -> None:
    """The remembered decline has the same kind and costs nothing; another call is asked."""
    dataset = await sim_world.build(sqlite_store)
    simulator, now = Declining(), [0.0]
    layer = RememberedDeclines(simulator, lambda: now[0])
    first, other = (CallRequest(dataset, call("search", title=title)) for title in ("x", "y"))

    outcomes = [await layer.answer(first) for _ in range(3)]
    await layer.answer(other)

    assert [PAID, None, None] == [outcome.usage for outcome in outcomes]
    assert [("simulator_unreadable", "no")] * 3 == [outcome[:2] for outcome in outcomes]
    assert 2 == simulator.asked
    now[0] = REMEMBERED_S
    assert PAID == (await layer.answer(first)).usage


@pytest.mark.parametrize("kind", ["simulator_unavailable", "simulator_failed", "undocumented"])
async def test_what_may_change_at_any_moment_is_asked_again(sqlite_store: Store, kind: str) -> None:
    """An endpoint may be there again at the next call."""
    dataset = await sim_world.build(sqlite_store)
    simulator = Declining(kind)
    layer = RememberedDeclines(simulator)

    for _ in range(2):
        await layer.answer(CallRequest(dataset, call("search", title="x")))

    assert 2 == simulator.asked


async def test_the_memory_is_bounded(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest decline is forgotten."""
    monkeypatch.setattr(remembered_declines, "MAX_REMEMBERED", 2)
    dataset = await sim_world.build(sqlite_store)
    simulator = Declining()
    layer = RememberedDeclines(simulator)

    for title in ("1", "2", "3", "3", "1"):
        await layer.answer(CallRequest(dataset, call("search", title=title)))

    assert 4 == simulator.asked


@pytest.mark.parametrize(("mode", "n_requests"), [(CacheMode.SIMULATE, 3), (CacheMode.REFRESH, 6)])
async def test_a_server_asks_for_a_declined_call_again_only_to_refresh(
    llm: LLMServer, sqlite_store: Store, sqlite_store_url: str, mode: CacheMode, n_requests: int
) -> None:
    """Three requests for one answer, and in mode simulate none for the second call."""
    await sim_world.build(sqlite_store)
    llm.rule = lambda _: text(json.dumps({"error": "", "response": None}))
    endpoint = Endpoint(llm.url, None, "STUB_BASE_URL", "STUB_API_KEY")
    simulator = SimulatorOptions("llm", model="stub/any", endpoints=(endpoint,))
    asked = call("search", title="x")
    body = {
        "category": asked.category,
        "tool_name": asked.tool,
        "api_name": asked.api,
        "tool_input": {"title": "x"},
        "strip": "",
        "toolbench_key": "",
    }
    options = ServerOptions(sqlite_store_url, "small", mode, simulator=simulator)

    async with running(options) as server:
        answers = [await server.call(body) for _ in range(2)]

    assert ["miss", "miss"] == [answer.headers["x-stb-provenance"] for answer in answers]
    assert answers[0].content == answers[1].content
    assert n_requests == llm.count
