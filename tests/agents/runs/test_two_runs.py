"""Two sessions of one run never do its work twice."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

import agent_world as world
from stb_core.store import Store, schema
from stb_core.values import processes
from stb_processes import started, wait_for

Stb = Callable[..., subprocess.CompletedProcess[str]]

# An agent that writes down each query that it is asked, and answers when there is a file "go".
AGENT = """
import asyncio
from pathlib import Path

HERE = Path(__file__).parent

async def solve(task, tools):
    with (HERE / "asked").open("a") as asked:
        asked.write("x\\n")
    while not (HERE / "go").exists():
        await asyncio.sleep(0.01)
    return "done"
"""


class Twin:
    """A run of eight queries, four at a time, that may be started any number of times."""

    def __init__(self, folder: Path, store: Store, store_url: str, server: str) -> None:
        (folder / "slow.py").write_text(AGENT)
        self.folder, self.store = folder, store
        self.env = {"STB_DATABASE_URL": store_url}
        self.args = ("run", "-a", "slow.py:solve", "-d", "world", "--name", "twin", "--server", server)
        self.args = (*self.args, "--max-connections", "4")

    def asked(self) -> int:
        """How many queries the agent was given."""
        path = self.folder / "asked"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def go(self) -> None:
        """Let the agent answer."""
        (self.folder / "go").touch()

    async def leases(self) -> int:
        """How many leases there are."""
        async with self.store.reading() as connection:
            return await connection.scalar(sa.select(sa.func.count()).select_from(schema.leases)) or 0

    async def attempts(self) -> list[int]:
        """The attempts of all trials that have a result."""
        t = schema.trajectories.c
        async with self.store.reading() as connection:
            return list(await connection.scalars(sa.select(t.attempt).where(t.run == "twin")))


@pytest.fixture
async def twin(tmp_path: Path, store: Store, store_url: str) -> AsyncGenerator[Twin]:
    await world.put_world(store)
    async with world.serving(store_url) as server:
        yield Twin(tmp_path, store, store_url, server)


async def test_two_sessions_of_one_run_ask_for_each_query_once(stb: Stb, twin: Twin) -> None:
    """The second is refused in one line with exit code 1; the first goes on, and then nothing is left."""
    with started(twin.folder, *twin.args, env=twin.env) as first:
        await wait_for(lambda: twin.asked() == 4, first)
        second = await asyncio.to_thread(stb, *twin.args, env=twin.env)
        twin.go()
        await asyncio.to_thread(first.communicate)

    again = await asyncio.to_thread(stb, *twin.args, "--json", env=twin.env)

    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr == (
        f"stb: Another session is doing the run twin (process {first.pid} on this machine)."
        " Wait until it ends, or stop it; then run the same command again.\n"
    )
    assert (first.returncode, again.returncode, json.loads(again.stdout)["complete"]) == (0, 0, True)
    assert (twin.asked(), await twin.attempts()) == (8, [0] * 8)


async def test_a_run_that_was_killed_goes_on_at_once(stb: Stb, twin: Twin) -> None:
    """After SIGKILL the same command neither waits nor is refused."""
    with started(twin.folder, *twin.args, env=twin.env) as first:
        await wait_for(lambda: twin.asked() == 4, first)
    twin.go()
    left = await twin.leases()

    second = await asyncio.to_thread(stb, *twin.args, env=twin.env)

    assert (left, second.returncode, await twin.leases()) == (1, 0, 0)
    assert "session" not in second.stderr
    assert (twin.asked(), await twin.attempts()) == (4 + 8, [0] * 8)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_run_that_is_told_to_stop_gives_its_lease_back(
    twin: Twin, number: signal.Signals, code: int
) -> None:
    """It says in one line that what was finished is kept."""
    with started(twin.folder, *twin.args, env=twin.env) as process:
        await wait_for(lambda: twin.asked() == 4, process)
        process.send_signal(number)
        _, said = await asyncio.to_thread(process.communicate)

    assert (process.returncode, await twin.leases()) == (code, 0)
    assert said.strip() == "stb: stopped. What was finished is kept; run the same command again to continue."


async def test_results_of_a_session_that_lost_its_lease_do_not_count(stb: Stb, twin: Twin) -> None:
    """It ends with exit code 1 and leaves the work to the session that has it."""
    mark = processes.make_mark()
    with started(twin.folder, *twin.args, env=twin.env) as first:
        await wait_for(lambda: twin.asked() == 4, first)
        async with twin.store.writing() as connection:
            await connection.execute(schema.leases.update().values(token=mark))
        twin.go()
        _, said = await asyncio.to_thread(first.communicate)
    lost = await twin.attempts()
    async with twin.store.writing() as connection:
        await connection.execute(schema.leases.delete().where(schema.leases.c.token == mark))

    second = await asyncio.to_thread(stb, *twin.args, env=twin.env)

    assert (first.returncode, lost) == (1, [])
    assert said.strip().startswith("stb: Another session took over the run twin while this one stood still")
    assert (second.returncode, await twin.attempts()) == (0, [0] * 8)


async def test_two_runs_at_once_do_not_mind_each_other(twin: Twin, stb: Stb) -> None:
    """One of another name is another run."""
    with started(twin.folder, *twin.args, env=twin.env) as first:
        await wait_for(lambda: twin.asked() == 4, first)
        with started(twin.folder, *twin.args, "--name", "other", env=twin.env) as second:
            await wait_for(lambda: twin.asked() == 8, second)
            twin.go()
            await asyncio.to_thread(second.communicate)
        await asyncio.to_thread(first.communicate)

    assert (first.returncode, second.returncode, twin.asked()) == (0, 0, 16)
