"""A simulator that need not be there: the server asks it while its host exists, and waits for nobody otherwise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import sim_world
from llm_server import LLMServer, text
from sim_world import FILMS
from stb_core.errors import UsageError
from stb_core.llm.protocol import Endpoint
from stb_core.settings import Settings
from stb_core.store import Store
from stb_core.values.provenance import CacheMode
from stb_server.simulators import presence as presence_module
from stb_server.simulators.options import SimulatorOptions, read_options
from stb_server.simulators.presence import Presence
from stb_server.worker.options import ServerOptions
from virtual_server import Running, eventually, running

NOWHERE = "http://nowhere.invalid:8000/v1"


def search(title: str) -> dict[str, Any]:
    return {
        "category": "Movies",
        "tool_name": FILMS.tool_name,
        "api_name": "search",
        "tool_input": json.dumps({"title": title}),
        "strip": "",
        "toolbench_key": "",
    }


@asynccontextmanager
async def serving(store_url: str, model_url: str) -> AsyncGenerator[Running]:
    endpoint = Endpoint(model_url, None, "STUB_BASE_URL", "STUB_API_KEY")
    simulator = SimulatorOptions("llm", model="stub/any", endpoints=(endpoint,), may_be_absent=True)
    options = ServerOptions(
        store_url, "small", simulator=simulator, follows_sources=True, watch_interval_s=0.05
    )
    async with running(options) as server:
        yield server


async def mode_of(server: Running) -> str:
    mode: str = (await server.client.get("/readyz")).json()["mode"]
    return mode


async def provenance(server: Running, title: str, **headers: str) -> str:
    answer = await server.call(search(title), **headers)
    return answer.headers["x-stb-provenance"]


@pytest.fixture
async def world(llm: LLMServer, sqlite_store: Store) -> LLMServer:
    """A small dataset, and a model that answers for its APIs."""
    await sim_world.build(sqlite_store)
    llm.rule = lambda _: text(sim_world.served(sim_world.film("Heat", 2000)["response"]))
    return llm


async def test_with_a_host_the_chain_goes_on_to_the_model(world: LLMServer, sqlite_store_url: str) -> None:
    """A request without a mode is answered as in auto mode."""
    async with serving(sqlite_store_url, world.url) as server:
        assert ("auto", "simulated") == (await mode_of(server), await provenance(server, "Heat"))


async def test_without_a_host_nothing_is_waited_for(world: LLMServer, sqlite_store_url: str) -> None:
    """The server replays; even in auto mode a call is a miss at once, and no model is asked."""
    async with serving(sqlite_store_url, NOWHERE) as server:
        assert "replay" == await mode_of(server)
        assert "miss" == await provenance(server, "Heat")
        assert "miss" == await provenance(server, "Heat", x_stb_mode="auto")

    assert 0 == world.count


async def test_a_simulator_that_is_started_later_is_asked_from_then_on(
    world: LLMServer, sqlite_store_url: str
) -> None:
    """And no longer once its host is gone; the server goes on meanwhile."""
    async with serving(sqlite_store_url, world.url) as server:
        presence = server.app.state.worker.resources.simulator.presence
        exists, presence.hosts = presence.hosts, ("nowhere.invalid",)
        await eventually(lambda: not presence.is_there)
        assert ("replay", "miss") == (await mode_of(server), await provenance(server, "Heat"))

        presence.hosts = exists
        await eventually(lambda: presence.is_there)
        assert ("auto", "simulated") == (await mode_of(server), await provenance(server, "Heat"))


async def test_one_host_of_several_is_enough() -> None:
    """The model is asked where it is."""
    presence = Presence([NOWHERE, "http://127.0.0.1:8000/v1"])

    assert await presence.look()
    assert presence.is_there
    assert not await presence.look(), "nothing has changed since"


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("simulator/stabletoolbench/MirrorAPI-Cache", "mirrorapi"),
        ("simulator/my-mirrorapi", "mirrorapi"),
        ("simulator/Qwen/Qwen2.5-7B-Instruct", "llm"),
        ("simulator/qwen2.5:7b", "llm"),
    ],
)
def test_a_model_is_asked_as_its_name_says(model: str, kind: str) -> None:
    """MirrorAPI in the form of its training, any other as an instruct model."""
    settings = Settings("", {}, {"SIMULATOR_BASE_URL": NOWHERE})

    options = read_options("auto", settings, model=model)

    assert (kind, True) == (options.simulator, options.may_be_absent)


def test_auto_needs_a_model() -> None:
    """The error says how to name one."""
    with pytest.raises(UsageError, match="needs a model"):
        read_options("auto", Settings("", {}, {}))


def test_the_chain_is_the_one_of_auto() -> None:
    """What the server does by default once a simulator is there."""
    assert "recordings, the real API, a simulator" == CacheMode.AUTO.rules.answered_by


@pytest.mark.parametrize("host", ["a..b", "x" * 64])
async def test_what_no_host_can_be_called_is_absent(host: str) -> None:
    """A slip in an address stops neither the server nor doctor."""
    presence = Presence([f"http://{host}:8000/v1"])

    assert not await presence.look()
    assert not presence.is_there


async def test_a_search_that_hangs_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds a thread of all other searches, so none is started beside it; its host counts as absent."""
    monkeypatch.setattr(presence_module, "_TIMEOUT_S", 0.01)
    searches = 0

    async def hang(*_: Any, **__: Any) -> None:
        nonlocal searches
        searches += 1
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hang, raising=False)
    presence = Presence([NOWHERE])
    changes = [await presence.look() for _ in range(3)]

    assert ([False] * 3, False, 1) == (changes, presence.is_there, searches)
