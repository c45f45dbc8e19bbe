"""replay:RUN makes the calls of a stored run again."""

from __future__ import annotations

from stb_agents.run_request import RunRequest
from stb_agents.runs import carry_out
from stb_core.settings import Settings
from stb_core.store import Store
from stb_core.trajectories import Trajectory


async def test_the_same_calls_are_made_again(
    world_url: str, sqlite_store: Store, sqlite_store_url: str
) -> None:
    """In the same order, with the same answers, and the same answer is handed in."""
    settings = Settings(sqlite_store_url, {}, {})

    async def run(agent: str) -> list[Trajectory]:
        done = await carry_out(settings, RunRequest(agent, "world", server=world_url), quiet=True)
        return [trajectory async for trajectory in sqlite_store.runs.trajectories(done.run.run)]

    original = await run("scripted")
    (stored,) = await sqlite_store.runs.all()
    again = await run(f"replay:{stored.run}")

    assert [t.steps for t in again] == [t.steps for t in original]
    assert [(t.stop, t.final_answer) for t in again] == [(t.stop, t.final_answer) for t in original]
    assert {t.agent for t in again} == {"replay"}
