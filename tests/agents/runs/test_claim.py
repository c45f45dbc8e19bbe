"""Which trials of a run are left, and that one session at a time does them."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from stb_agents.builtin.scripted import Scripted
from stb_agents.runs.claim import claim_trials, trials_left
from stb_core.errors import BusyError
from stb_core.store import Store
from stb_core.values.manifest import Manifest
from stb_core.values.queries import Query
from stb_core.values.trajectories import StopReason, Trajectory

AGENT = Scripted()
QUERIES = [Query(query_id=str(number), group="G1_tool", text="?", apis=()) for number in (1, 2)]


@pytest.fixture
async def run(sqlite_store: Store) -> str:
    """A run of two trials per query, with a result, and with a trial that infrastructure cost."""
    manifest = Manifest(dataset="d", dataset_hash="0", agent="a", mode="replay", trials=2)
    await sqlite_store.runs.create("r", manifest, {"G1_tool": ["1", "2"]})
    ends = {"1": StopReason.ANSWERED, "2": StopReason.INFRASTRUCTURE}
    await sqlite_store.runs.put_trajectories(
        "r",
        [
            Trajectory(group="G1_tool", query_id=query_id, query="?", agent="a", stop=stop)
            for query_id, stop in ends.items()
        ],
    )
    return "r"


async def test_what_has_no_result_is_left(sqlite_store: Store, run: str) -> None:
    """A trial that infrastructure cost too; the first trials of all queries come first."""
    left = await trials_left(sqlite_store, run, QUERIES, 2)

    assert left == [("G1_tool", "2", 0), ("G1_tool", "1", 1), ("G1_tool", "2", 1)]


async def test_one_session_at_a_time_claims_trials(sqlite_store: Store, run: str) -> None:
    """The second is refused until the first has ended."""
    async with AsyncExitStack() as first, AsyncExitStack() as second:
        left, lease = await claim_trials(sqlite_store, run, QUERIES, 2, AGENT, first)
        with pytest.raises(BusyError, match="Another session is doing the run r"):
            await claim_trials(sqlite_store, run, QUERIES, 2, AGENT, second)
    async with AsyncExitStack() as third:
        again, _ = await claim_trials(sqlite_store, run, QUERIES, 2, AGENT, third)

    assert lease is not None
    assert again == left


async def test_a_run_without_trials_left_takes_no_lease(sqlite_store: Store, run: str) -> None:
    """So it can be shown while another session works on it."""
    async with AsyncExitStack() as stack:
        claim = await claim_trials(sqlite_store, run, QUERIES[:1], 1, AGENT, stack)

    assert claim == ([], None)
