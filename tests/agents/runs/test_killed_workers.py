"""Processes that share a run are killed and stand still at random, and it ends as if nothing had happened."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import agent_world as world
from stb_core.store import Store, schema
from stb_processes import started, wait_for

Stb = Callable[..., subprocess.CompletedProcess[str]]

# Writes down each trial that it is asked for, and answers with what two tools say.
AGENT = """
import asyncio
from pathlib import Path

async def solve(task, tools):
    with Path(__file__).with_name("asked").open("a") as asked:
        asked.write("x")
    await asyncio.sleep(WAIT_S)
    city = next(name for name in CITIES if name in str(task))
    return " ".join([str(await tool(city=city)) for tool in list(tools)[:2]])
"""


async def contents(store: Store, run: str) -> list[str]:
    """The hash of what each trial holds, but for the clock."""
    return [trajectory.content_hash async for trajectory in store.runs.trajectories(run)]


async def begun_twice(store: Store) -> int:
    """How many trials that a dead process had begun are not done yet."""
    w = schema.work.c
    lost = sa.select(sa.func.count()).where(w.run == "killed", w.is_left == 1, w.tries > 1)
    async with store.reading() as connection:
        return await connection.scalar(lost) or 0


def rows(stb: Stb, run: str, env: dict[str, str]) -> list[dict[str, Any]]:
    """The score of a run, without what says which run it is and when it was made."""
    ended = stb("score", run, "--judge", "rules", "--json", env=env)
    assert ended.returncode == 0, ended.stderr
    hidden = {"run", "manifest_hash"}
    return [
        {name: value for name, value in row.items() if name not in hidden and not name.endswith("seconds")}
        for row in json.loads(ended.stdout)["rows"]
    ]


async def stand_still(process: subprocess.Popen[str], store: Store) -> None:
    """Stop a process, but not while it writes to an SQLite file: then nobody could."""
    process.send_signal(signal.SIGSTOP)
    while store.is_sqlite:
        with closing(sqlite3.connect(store.place, timeout=0.5, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                process.send_signal(signal.SIGCONT)
                await asyncio.sleep(0.05)
                process.send_signal(signal.SIGSTOP)
            else:
                return


async def kill_workers(
    stb: Stb,
    store: Store,
    url: str,
    folder: Path,
    *,
    trials: int,
    workers: int,
    slots: int,
    kills: int,
    wait_s: float,
) -> None:
    """A run named ``whole`` by one process, one named ``killed`` by several, of which one is killed now and then.

    One stands still for longer than its lease. No trial is killed twice, since three times would be the end of it.
    """
    (folder / "agent.py").write_text(f"CITIES = {world.CITIES}\nWAIT_S = {wait_s}\n{AGENT}")
    env = {"STB_DATABASE_URL": url}
    asked = folder / "asked"
    chance = random.Random(19)
    async with world.serving(url) as server:
        args = ("run", "-a", "agent.py:solve", "-d", "world", "--server", server, "-k", str(trials))
        args = (*args, "--max-connections", str(slots), "--json")
        whole = await asyncio.to_thread(stb, *args, "--name", "whole", env=env, timeout=900)
        assert whole.returncode == 0, whole.stderr
        asked.unlink()
        n_trials = 8 * trials
        with ExitStack() as stack:
            running = [
                stack.enter_context(started(folder, *args, "--name", "killed", env=env))
                for _ in range(workers)
            ]
            stopped = running[0]
            for number in range(kills):
                share = n_trials * (number + 1) // (kills + 2)
                await wait_for(
                    lambda share=share: asked.exists() and asked.stat().st_size >= share, seconds=600
                )  # type: ignore[misc]
                while await begun_twice(store):  # noqa: ASYNC110 - the store calls nobody
                    await asyncio.sleep(0.02)
                if number == 0:
                    await stand_still(stopped, store)
                    async with store.writing() as connection:  # as after 30 seconds
                        mine = sa.select(schema.workers.c.owner).where(schema.workers.c.pid == stopped.pid)
                        its = schema.work.update().where(schema.work.c.owner.in_(mine))
                        await connection.execute(its.values(until=0.0))
                    continue
                victim = chance.randrange(1, workers)
                running[victim].kill()
                running[victim] = stack.enter_context(started(folder, *args, "--name", "killed", env=env))
            stopped.send_signal(signal.SIGCONT)
            said = [await asyncio.to_thread(process.communicate) for process in running]

        assert [process.returncode for process in running] == [0] * workers, said
        assert len({json.dumps(json.loads(out)["rows"]) for out, _ in said}) == 1
    calls = asked.stat().st_size
    done = await store.runs.done("killed")
    print(f"{n_trials} trials, {kills} kills and stops, {calls} calls of the agent")  # noqa: T201 - shown with -rP
    assert len(done) == n_trials
    assert {one.attempt for one in done} == {0}
    assert await contents(store, "killed") == await contents(store, "whole")
    assert rows(stb, "killed", env) == rows(stb, "whole", env)
    assert n_trials <= calls <= n_trials + (kills + 1) * slots


@pytest.mark.slow
async def test_three_workers_of_which_some_are_killed(
    stb: Stb, store: Store, store_url: str, tmp_path: Path
) -> None:
    """No trial is lost or counted twice, and what the agent does again is what was in flight."""
    await world.put_world(store)

    await kill_workers(stb, store, store_url, tmp_path, trials=20, workers=3, slots=4, kills=3, wait_s=0.02)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_eight_workers_and_twenty_kills(stb: Stb, store: Store, store_url: str, tmp_path: Path) -> None:
    """As above with 10,000 trials."""
    await world.put_world(store)

    await kill_workers(
        stb, store, store_url, tmp_path, trials=1250, workers=8, slots=16, kills=21, wait_s=0.05
    )
