"""Which trials of a run are left, and that each is done by one process."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from stb_agents.runs.claim import claim_trials, place_of, trials_left
from stb_core.store import ClaimQueue, Store
from stb_core.store.work import FAILED
from stb_core.values.manifest import Manifest
from stb_core.values.queries import Query
from stb_core.values.trajectories import StopReason, Trajectory

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


async def claimed(store: Store, run: str, slots: int, stack: AsyncExitStack) -> ClaimQueue:
    return await claim_trials(store, run, await trials_left(store, run, QUERIES, 2), slots, stack)


async def test_processes_share_what_is_left(
    sqlite_store: Store, run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second says that it joins; what the first gives back at its end is done by the second."""
    async with AsyncExitStack() as second:
        async with AsyncExitStack() as first:
            theirs = await (await claimed(sqlite_store, run, 1, first)).next()
            queue = await claimed(sqlite_store, run, 2, second)
            mine = [await queue.next(), await queue.next()]
        last = await queue.next()

    items = [claim and place_of(claim.item) for claim in (theirs, *mine, last)]
    assert items == [("G1_tool", "2", 0), ("G1_tool", "1", 1), ("G1_tool", "2", 1), ("G1_tool", "2", 0)]
    assert capsys.readouterr().err == "Joining the run r: another process does trials of it already.\n"


async def test_what_was_lost_is_done_again_by_the_next_session(sqlite_store: Store, run: str) -> None:
    """And what came with an import meanwhile is not."""
    async with AsyncExitStack() as stack:
        queue = await claimed(sqlite_store, run, 1, stack)
        claim = await queue.next()
        assert claim
        await queue.end(claim, FAILED)
    imported = Trajectory(
        group="G1_tool", query_id="1", query="?", agent="a", trial=1, stop=StopReason.ANSWERED
    )
    await sqlite_store.runs.put_trajectories("r", [imported])

    async with AsyncExitStack() as stack:
        queue = await claimed(sqlite_store, run, 1, stack)
        again = [await queue.next(), await queue.next()]

    assert [claim and place_of(claim.item) for claim in again] == [("G1_tool", "2", 0), ("G1_tool", "2", 1)]
