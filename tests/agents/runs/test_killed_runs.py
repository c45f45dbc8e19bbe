"""A run that is killed again and again while its model's endpoint misbehaves ends as if nothing had happened."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import virtual_server
from llm_server import Answer, Behaviour, LLMServer, obliging
from stb_core.store import Store
from stb_core.values.trajectories import StopReason
from stb_processes import started, wait_for
from stb_server.worker.options import ServerOptions

Stb = Callable[..., subprocess.CompletedProcess[str]]
KILLS = 3


async def contents(store: Store, run: str) -> list[str]:
    """The hash of what each trial holds, but for the clock."""
    return [trajectory.content_hash async for trajectory in store.runs.trajectories(run)]


async def kill_and_go_on(
    stb: Stb, llm: LLMServer, folder: Path, args: tuple[str, ...], storm: Behaviour
) -> tuple[int, int]:
    """A run named ``whole`` in calm weather, one named ``killed`` in a storm; readable replies to each."""
    replies = 0

    def counted(body: dict[str, Any]) -> Answer:
        nonlocal replies
        replies += 1
        return obliging(body)

    llm.rule = counted
    env = {"STUB_BASE_URL": llm.url}
    whole = await asyncio.to_thread(stb, *args, "--name", "whole", env=env, timeout=600)
    assert whole.returncode == 0, whole.stderr
    needed = replies
    llm.behaviour = storm
    replies = 0
    for number in range(1, KILLS + 1):
        with started(folder, *args, "--name", "killed", env=env) as process:
            await wait_for(
                lambda number=number: replies >= needed * number // (KILLS + 1), process, seconds=300
            )
    ended = await asyncio.to_thread(stb, *args, "--name", "killed", env=env, timeout=600)
    assert ended.returncode == 0, ended.stderr
    return needed, replies


async def check(store: Store, n_trials: int) -> None:
    """Every trial is there once, has a result, and is what it would have been."""
    done = await store.runs.done("killed")
    assert len(done) == n_trials
    assert {one.attempt for one in done} == {0}
    assert StopReason.INFRASTRUCTURE not in {one.stop for one in done}
    assert await contents(store, "killed") == await contents(store, "whole")


@pytest.mark.slow
async def test_killed_three_times(
    stb: Stb, world_url: str, llm: LLMServer, sqlite_store: Store, tmp_path: Path
) -> None:
    """No trial is lost or done twice; paid replies are those of a calm run and those in flight at each kill."""
    connections = 16
    args = ("run", "-a", "cot", "-m", "stub/any", "-d", "world", "--server", world_url)
    args = (*args, "-k", "12", "--max-connections", str(connections))
    storm = Behaviour(latency_s=0.02, jitter_s=0.18, rate_limit_share=0.05, malformed_share=0.01)

    needed, paid = await kill_and_go_on(stb, llm, tmp_path, args, storm)

    await check(sqlite_store, 8 * 12)
    assert needed <= paid <= needed + KILLS * connections


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_five_hundred_queries_killed_three_times(
    stb: Stb, llm: LLMServer, sqlite_store: Store, sqlite_store_url: str, tmp_path: Path, real_data: Path
) -> None:
    """As above with real queries, 64 at a time, and a model that takes 0.2 to 2 seconds."""
    connections = 64
    await asyncio.to_thread(stb, "data", "import", str(real_data / "release"), "--name", "real")
    storm = Behaviour(latency_s=0.2, jitter_s=1.8, rate_limit_share=0.05, malformed_share=0.01)
    options = ServerOptions(database_url=sqlite_store_url, dataset="real")

    async with virtual_server.running(options) as server:
        args = ("run", "-a", "cot", "-m", "stub/any", "-d", "real", "--limit", "88", "--server", server.url)
        args = (*args, "--max-connections", str(connections))
        needed, paid = await kill_and_go_on(stb, llm, tmp_path, args, storm)

    await check(sqlite_store, 5 * 88 + 61)
    print(f"replies: {needed} in a calm run, {paid} with {KILLS} kills")  # noqa: T201 - shown with -rP
    assert needed <= paid <= needed + KILLS * connections
