"""Processes that do one run share its trials: each is done once, and all processes tell of the whole run."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

import agent_world as world
from stb_core.store import Store, schema
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

# An agent whose process dies at the first query.
KILLER = """
import os, signal

async def solve(task, tools):
    if task.query.query_id == "0":
        os.kill(os.getpid(), signal.SIGKILL)
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

    async def held(self) -> tuple[int, int]:
        """How many trials are claimed, and how many workers there are."""
        claimed = sa.select(sa.func.count()).where(schema.work.c.state == "claimed")
        async with self.store.reading() as connection:
            workers = await connection.scalar(sa.select(sa.func.count()).select_from(schema.workers))
            return await connection.scalar(claimed) or 0, workers or 0

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


async def test_two_processes_share_a_run(twin: Twin) -> None:
    """Each trial is done once, and both wait for the last one and print the same."""
    with started(twin.folder, *twin.args, "--json", env=twin.env) as first:
        await wait_for(lambda: twin.asked() == 4, first)
        with started(twin.folder, *twin.args, "--json", env=twin.env) as second:
            await wait_for(lambda: twin.asked() == 8, second)
            twin.go()
            said, noted = await asyncio.to_thread(second.communicate)
        other, _ = await asyncio.to_thread(first.communicate)

    assert (first.returncode, second.returncode) == (0, 0)
    assert json.loads(said)["complete"]
    assert json.loads(said) == json.loads(other)
    assert "Joining the run twin: another process does trials of it already." in noted
    assert (twin.asked(), await twin.attempts(), await twin.held()) == (8, [0] * 8, (0, 0))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_process_that_is_told_to_stop_leaves_its_trials_to_others(
    twin: Twin, number: signal.Signals, code: int
) -> None:
    """It gives its claims back, says in one line that what was finished is kept, and the other does all trials."""
    with started(twin.folder, *twin.args, env=twin.env) as first:
        await wait_for(lambda: twin.asked() == 4, first)
        with started(twin.folder, *twin.args, "--json", env=twin.env) as second:
            await wait_for(lambda: twin.asked() == 8, second)
            first.send_signal(number)
            _, stopped = await asyncio.to_thread(first.communicate)
            held = await twin.held()
            twin.go()
            said, _ = await asyncio.to_thread(second.communicate)

    assert (first.returncode, held) == (code, (4, 1))
    assert stopped.strip() == (
        "stb: stopped. What was finished is kept; run the same command again to continue."
    )
    assert (second.returncode, json.loads(said)["complete"]) == (0, True)
    assert (twin.asked(), await twin.attempts()) == (4 + 8, [0] * 8)


async def test_a_process_alone_that_is_told_to_stop_gives_all_back(twin: Twin) -> None:
    """Nobody has to wait for what it held."""
    with started(twin.folder, *twin.args, env=twin.env) as process:
        await wait_for(lambda: twin.asked() == 4, process)
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.communicate)

    assert (process.returncode, await twin.held()) == (143, (0, 0))


async def test_a_run_that_was_killed_goes_on_at_once(stb: Stb, twin: Twin) -> None:
    """After SIGKILL the same command does not wait."""
    with started(twin.folder, *twin.args, env=twin.env) as first:
        await wait_for(lambda: twin.asked() == 4, first)
    twin.go()
    left = await twin.held()

    second = await asyncio.to_thread(stb, *twin.args, env=twin.env)

    assert (left, second.returncode, await twin.held()) == ((4, 1), 0, (0, 0))
    assert "Joining" not in second.stderr
    assert (twin.asked(), await twin.attempts()) == (4 + 8, [0] * 8)


async def test_a_trial_that_ends_its_process_is_given_up_after_three_times(twin: Twin, stb: Stb) -> None:
    """It ends as an infrastructure failure that says why, and the rest goes on."""
    killer = twin.folder / "killer.py"
    killer.write_text(KILLER)
    args = ("run", "-a", "killer.py:solve", *twin.args[3:], "--max-connections", "1", "--json")
    codes = [(await asyncio.to_thread(stb, *args, env=twin.env)).returncode for _ in range(3)]

    last = await asyncio.to_thread(stb, *args, env=twin.env)

    said = json.loads(last.stdout)
    assert (codes, last.returncode) == ([-9] * 3, 1)
    assert [(one["query_id"], one["reason"]) for one in said["missing"]] == [
        ("0", "The trial was begun 3 times, and each time its process ended without a result.")
    ]


async def test_late_results_do_not_count(twin: Twin, stb: Stb) -> None:
    """A process that stood still for longer than its lease has its trials done by others; what it brings is dropped."""
    with started(twin.folder, *twin.args, "--json", env=twin.env) as first:
        await wait_for(lambda: twin.asked() == 4, first)
        first.send_signal(signal.SIGSTOP)
        async with twin.store.writing() as connection:  # as after 30 seconds
            await connection.execute(schema.work.update().values(until=schema.work.c.until - 1000))
        twin.go()
        second = await asyncio.to_thread(stb, *twin.args, "--json", env=twin.env)
        first.send_signal(signal.SIGCONT)
        said, _ = await asyncio.to_thread(first.communicate)

    assert (first.returncode, second.returncode) == (0, 0)
    assert json.loads(said) == json.loads(second.stdout)
    assert (twin.asked(), await twin.attempts()) == (4 + 8, [0] * 8)


async def test_a_run_is_drained_and_goes_on(twin: Twin, stb: Stb) -> None:
    """All processes end when they have done what they began; the same command does the rest."""
    none = await asyncio.to_thread(stb, *twin.args, "--drain", env=twin.env)
    with started(twin.folder, *twin.args, "--json", env=twin.env) as first:
        await wait_for(lambda: twin.asked() == 4, first)
        told = await asyncio.to_thread(stb, *twin.args, "--drain", "--json", env=twin.env)
        async with twin.store.writing() as connection:  # the process looks every five seconds
            workers = schema.workers.c
            began = await connection.scalar(sa.select(workers.until))
        while True:
            async with twin.store.reading() as connection:
                if await connection.scalar(sa.select(workers.until)) != began:
                    break
            await asyncio.sleep(0.05)
        twin.go()
        said, _ = await asyncio.to_thread(first.communicate)
    again = await asyncio.to_thread(stb, *twin.args, "--json", env=twin.env)

    assert (none.returncode, "No process does the run twin now." in none.stderr) == (2, True)
    assert json.loads(told.stdout) == {"run": "twin", "mode": "drained", "workers": 1}
    assert (first.returncode, json.loads(said)["stopped"]) == (1, "Stopped, since --drain was asked for.")
    assert len(json.loads(said)["missing"]) == 4
    assert (again.returncode, twin.asked(), await twin.attempts()) == (0, 8, [0] * 8)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_eight_processes_ten_times(twin: Twin) -> None:
    """Each trial is done once, and all processes print the same."""
    twin.go()
    for number in range(10):
        before = twin.asked()
        with ExitStack() as stack:
            running = [
                stack.enter_context(
                    started(
                        twin.folder, *twin.args, "--name", f"r{number}", "-k", "4", "--json", env=twin.env
                    )
                )
                for _ in range(8)
            ]
            said = [await asyncio.to_thread(process.communicate) for process in running]
        assert [process.returncode for process in running] == [0] * 8, said
        assert {json.dumps(json.loads(out)["rows"]) for out, _ in said} == {
            json.dumps(json.loads(said[0][0])["rows"])
        }
        assert twin.asked() - before == 8 * 4
        assert {one.attempt for one in await twin.store.runs.done(f"r{number}")} == {0}


async def test_two_runs_at_once_do_not_mind_each_other(twin: Twin) -> None:
    """One of another name is another run."""
    with started(twin.folder, *twin.args, env=twin.env) as first:
        await wait_for(lambda: twin.asked() == 4, first)
        with started(twin.folder, *twin.args, "--name", "other", env=twin.env) as second:
            await wait_for(lambda: twin.asked() == 8, second)
            twin.go()
            await asyncio.to_thread(second.communicate)
        await asyncio.to_thread(first.communicate)

    assert (first.returncode, second.returncode, twin.asked()) == (0, 0, 16)
