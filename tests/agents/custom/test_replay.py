"""replay:RUN makes the calls of a stored run again."""

from __future__ import annotations

import json

from llm_server import Answer, LLMServer, call
from stb_agents.runs.request import RunRequest
from stb_agents.runs.run import run_agent
from stb_core.settings import Settings
from stb_core.store import Store
from stb_core.values.trajectories import FINISH, Trajectory


async def test_the_same_calls_are_made_again(
    world_url: str, sqlite_store: Store, sqlite_store_url: str
) -> None:
    """In the same order, with the same answers, and the same answer is handed in."""
    settings = Settings(sqlite_store_url, {}, {})

    async def run(agent: str) -> list[Trajectory]:
        done = await run_agent(settings, RunRequest(agent, "world", server=world_url), quiet=True)
        return [trajectory async for trajectory in sqlite_store.runs.trajectories(done.run.run)]

    original = await run("scripted")
    (stored,) = await sqlite_store.runs.all()
    again = await run(f"replay:{stored.run}")

    assert [t.steps for t in again] == [t.steps for t in original]
    assert [(t.stop, t.final_answer) for t in again] == [(t.stop, t.final_answer) for t in original]
    assert {t.agent for t in again} == {"replay"}


def searching(body: dict[str, object]) -> Answer:
    """Calls once and gives up, then calls something else and answers."""
    said = json.dumps(body["messages"])
    if "Do something different" in said:
        return call("search_for_inns", city="Velmora")
    if "search_for_inns" in said.split('"role": "assistant"')[-1]:
        return call("Finish", return_type="give_answer", final_answer="The Velmora Arms")
    if "current_for_sky_watch" in said:
        return call("Finish", return_type="give_up_and_restart")
    return call("current_for_sky_watch", city="Velmora")


async def test_abandoned_calls_of_a_search_are_made_again(
    world_url: str, sqlite_store: Store, sqlite_store_url: str, llm: LLMServer
) -> None:
    """They are part of the load; the answer is that of the search."""
    llm.rule = searching
    settings = Settings(sqlite_store_url, {}, {"STUB_BASE_URL": llm.url})
    options = {"server": world_url, "task_ids": "0"}
    search = RunRequest("dfsdt", "world", "stub/any", **options)
    first = await run_agent(settings, search, quiet=True)

    again = await run_agent(settings, RunRequest(f"replay:{first.run.run}", "world", **options), quiet=True)

    (original,) = [t async for t in sqlite_store.runs.trajectories(first.run.run)]
    (replayed,) = [t async for t in sqlite_store.runs.trajectories(again.run.run)]
    assert [step.function for step in original.steps] == ["search_for_inns", FINISH]
    assert [step.function for step in replayed.steps] == [
        "current_for_sky_watch",
        FINISH,
        "search_for_inns",
        FINISH,
    ]
    assert (replayed.stop, replayed.final_answer) == (original.stop, "The Velmora Arms")
    assert first.summary.tallies[-1].calls == again.summary.tallies[-1].calls
    assert first.summary.tallies[-1].calls.total() == 2
