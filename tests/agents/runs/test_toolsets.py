"""``--tools retrieved:K``: what a query offers is found among all APIs of its dataset."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_world import CURRENT, put_world
from llm_server import LLMServer
from stb_agents.runs.request import RunRequest
from stb_agents.runs.run import forecast_run, run_agent
from stb_core.settings import Settings
from stb_core.store import Store
from stb_core.values.queries import Query
from stb_core.values.trajectories import Trajectory


@pytest.fixture
def settings(sqlite_store_url: str, llm: LLMServer) -> Settings:
    """Where the store is, and an embedding."""
    return Settings(sqlite_store_url, {}, {"STUB_BASE_URL": llm.url})


async def run(
    settings: Settings, store: Store, server: str, **options: Any
) -> tuple[dict[str, Any], list[Trajectory]]:
    """The note in the manifest, and the trajectories."""
    request = RunRequest("scripted", **{"dataset": "world", "server": server} | options)
    done = await run_agent(settings, request, quiet=True)
    found = [trajectory async for trajectory in store.runs.trajectories(done.run.run)]
    return done.run.manifest.selection.get("tools", {}), found


async def test_a_query_offers_what_suits_it(settings: Settings, sqlite_store: Store, world_url: str) -> None:
    """In place of the APIs that it names, the best first; the manifest says how they were found."""
    note, found = await run(settings, sqlite_store, world_url, tools="retrieved:1")
    again, _ = await run(settings, sqlite_store, world_url, tools="retrieved:1", name="again")

    assert (note["retriever"], note["k"], len(note["index_hash"])) == ("bm25", 1, 64)
    assert again == note
    assert {t.group: t.available_tools for t in found} == {
        "G1_instruction": ("forecast_for_sky_watch",),
        "G3_instruction": ("search_for_inns",),
    }


async def test_another_number_is_another_run(settings: Settings, sqlite_store: Store, world_url: str) -> None:
    """And the tools as given are as they were before there was a choice."""
    one, _ = await run(settings, sqlite_store, world_url, tools="retrieved:1")
    two, _ = await run(settings, sqlite_store, world_url, tools="retrieved:2")
    given, found = await run(settings, sqlite_store, world_url)

    assert one != two
    assert given == {}
    assert len(await sqlite_store.runs.all()) == 3
    assert len(found[0].available_tools) == 3


async def test_a_query_without_a_tool_list_can_be_run(
    settings: Settings, sqlite_store: Store, world_url: str
) -> None:
    """What it needs is found by its text."""
    dataset = await sqlite_store.datasets.get("world")
    bare = Query(query_id="99", group="open", text="What is the weather in Velmora now?", apis=())
    async with sqlite_store.writing() as connection:
        await sqlite_store.datasets.put_queries(connection, dataset.id, [bare])

    _, (found,) = await run(settings, sqlite_store, world_url, dataset="world:open", tools="retrieved:2")

    assert found.available_tools == ("current_for_sky_watch", "forecast_for_sky_watch")
    assert {(step.category, step.tool, step.api) for step in found.steps[:-1]} >= {tuple(CURRENT)}


async def test_an_embedding_retrieves_too(settings: Settings, sqlite_store: Store, world_url: str) -> None:
    """Its name is in the manifest."""
    note, found = await run(
        settings, sqlite_store, world_url, tools="retrieved:2", embedding="stub/vectors", limit=1
    )

    assert note["retriever"] == "stub/vectors"
    assert [len(t.available_tools) for t in found] == [2, 2]


async def test_a_forecast_asks_no_embedding(settings: Settings, sqlite_store: Store, llm: LLMServer) -> None:
    """It names the run all the same."""
    await put_world(sqlite_store)
    llm.behaviour.required_key = "none has it"
    request = RunRequest("scripted", "world", tools="retrieved:2", embedding="stub/vectors")

    assert (await forecast_run(settings, request)).trials_left == 8


async def test_what_is_done_is_not_retrieved_again(
    settings: Settings, sqlite_store: Store, world_url: str, llm: LLMServer
) -> None:
    """An embedding costs money."""
    options = {"tools": "retrieved:2", "embedding": "stub/vectors"}
    await run(settings, sqlite_store, world_url, **options)
    llm.behaviour.required_key = "none has it"

    _, found = await run(settings, sqlite_store, world_url, **options)

    assert len(found) == 8


def test_the_command_says_it_in_one_line(
    stb: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """Exit code 2, before anything is looked at."""
    done = stb("run", "-a", "scripted", "-d", "nowhere", "--tools", "many")

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("stb: 'many' does not say which tools a query offers.")
