"""One session at a time does a piece of work; what a dead one held is taken over."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from stb_core.cli import sessions
from stb_core.errors import BusyError
from stb_core.store import Store, schema
from stb_core.store.lease import Lease
from stb_core.values import processes
from stb_core.values.manifest import Manifest
from stb_core.values.trajectories import StopReason, Trajectory

T = schema.leases


async def held(store: Store) -> list[tuple[str, str, str]]:
    async with store.reading() as connection:
        rows = await connection.execute(sa.select(T.c.name, T.c.token, T.c.expires_at))
        return [(row.name, row.token, row.expires_at) for row in rows]


async def change(store: Store, **values: str) -> None:
    """All leases get these values."""
    async with store.writing() as connection:
        await connection.execute(T.update().values(**values))


def from_now(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="microseconds")


def mark_of_another_machine() -> str:
    mark = processes.make_mark()
    return ("A" if mark[0] != "A" else "B") + mark[1:]


async def leave_behind(store: Store, token: str, seconds: float) -> None:
    """A lease of the work, as a session leaves it that is killed."""
    async with sessions.holding(store, ["work"], "the work"):
        ((name, _, _),) = await held(store)
    row = {"name": name, "token": token, "expires_at": from_now(seconds)}
    async with store.writing() as connection:
        await connection.execute(T.insert().values(row))


@pytest.fixture
def dead() -> str:
    """The mark of a process on this machine that has ended."""
    code = "from stb_core.values import processes; print(processes.make_mark())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


async def test_a_second_session_is_refused(store: Store) -> None:
    """In one line that names the process; other work, and the same after the first, can be done."""
    async with sessions.holding(store, ["work"], "the work"):
        with pytest.raises(BusyError) as refused:
            async with sessions.holding(store, ["work"], "the work"):
                pass
        async with sessions.holding(store, ["other work"], "the other work"):
            pass
    async with sessions.holding(store, ["work"], "the work"):
        pass

    assert str(refused.value) == (
        f"Another session is doing the work (process {os.getpid()} on this machine)."
        " Wait until it ends, or stop it; then run the same command again."
    )
    assert await held(store) == []


async def test_names_are_held_together_or_not_at_all(store: Store) -> None:
    """A session that cannot have one of its names keeps none of the others."""
    async with sessions.holding(store, ["b"], "b"):
        with pytest.raises(BusyError):
            async with sessions.holding(store, ["a", "b", "c"], "all"):
                pass

        assert len(await held(store)) == 1


async def test_any_name_can_be_held(store: Store) -> None:
    """However long it is, and in whatever script; one that begins alike is another."""
    name = "回" * 500
    async with (
        sessions.holding(store, [name], "one"),
        sessions.holding(store, [name + "x"], "the other"),
    ):
        assert len(await held(store)) == 2


async def test_what_a_dead_process_of_this_machine_held_is_free_at_once(store: Store, dead: str) -> None:
    """Nobody waits until its lease ends."""
    await leave_behind(store, dead, sessions.LEASE_S)

    async with sessions.holding(store, ["work"], "the work"):
        assert dead not in str(await held(store))


@pytest.mark.parametrize("seconds", [-1, 1e8], ids=["ended", "from a clock that was ahead"])
async def test_a_lease_that_ended_is_free_at_once(store: Store, seconds: float) -> None:
    """One that ends later than any new one could counts as ended."""
    await leave_behind(store, mark_of_another_machine(), seconds)

    async with sessions.holding(store, ["work"], "the work"):
        pass


async def test_a_lease_from_another_machine_ends_by_itself(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever wants it waits for that, and says so in one line."""
    monkeypatch.setattr(sessions, "_CHECK_S", 0.01)
    await leave_behind(store, mark_of_another_machine(), sessions.LEASE_S)

    async def end() -> None:
        said = "A session on another machine may be doing the work."
        while not capsys.readouterr().err.startswith(said):  # noqa: ASYNC110 - it says it whenever it does
            await asyncio.sleep(0.01)
        await change(store, expires_at=from_now(-1))

    async with asyncio.TaskGroup() as group:
        group.create_task(end())
        async with sessions.holding(store, ["work"], "the work"):
            pass

    assert capsys.readouterr().err == ""


async def test_a_session_on_another_machine_is_alive_while_it_renews_its_lease(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever wants it is refused as soon as that is seen."""
    monkeypatch.setattr(sessions, "_CHECK_S", 0.01)
    await leave_behind(store, mark_of_another_machine(), sessions.LEASE_S)

    async def renew() -> None:
        while True:
            await change(store, expires_at=from_now(sessions.LEASE_S))
            await asyncio.sleep(0.02)

    renewing = asyncio.create_task(renew())
    with pytest.raises(BusyError, match=r"doing the work \(on another machine\)"):
        async with sessions.holding(store, ["work"], "the work"):
            pass
    renewing.cancel()
    await asyncio.gather(renewing, return_exceptions=True)


async def test_a_held_lease_is_renewed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before it ends."""
    monkeypatch.setattr(sessions, "_BEAT_S", 0.01)
    async with sessions.holding(store, ["work"], "the work"):
        before = await held(store)
        while await held(store) == before:  # noqa: ASYNC110 - the store calls nobody
            await asyncio.sleep(0.01)

    assert sessions._BEAT_S * 3 < sessions.LEASE_S


@pytest.mark.parametrize("given_back", [False, True])
async def test_a_session_that_lost_its_work_is_stopped(
    store: Store, monkeypatch: pytest.MonkeyPatch, given_back: bool
) -> None:
    """It notices even where the other has done the work already; what the other holds stays."""
    monkeypatch.setattr(sessions, "_BEAT_S", 0.01)
    other = mark_of_another_machine()

    async def lose() -> None:
        async with sessions.holding(store, ["work"], "the work"):
            async with store.writing() as connection:
                await connection.execute(T.delete() if given_back else T.update().values(token=other))
            await asyncio.Event().wait()

    with pytest.raises(BusyError, match="Another session took over the work"):
        await lose()

    assert [token for _, token, _ in await held(store)] == [other] * (not given_back)


async def test_a_lost_lease_lets_no_result_through(store: Store) -> None:
    """A write is refused as soon as another has taken the lease over, noticed or not."""
    await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {"G1_tool": ["1"]})
    made = Trajectory(group="G1_tool", query_id="1", trial=0, query="?", agent="a", stop=StopReason.GAVE_UP)
    kept: Lease
    async with sessions.holding(store, ["work"], "the work") as kept:
        await store.runs.put_trajectories("r", [made], kept)
        await change(store, token=mark_of_another_machine())
        with pytest.raises(BusyError):
            await store.runs.put_trajectories("r", [made], kept)

    assert [one.attempt for one in await store.runs.done("r")] == [0]


def test_a_mark_tells_whether_its_process_is_there(dead: str) -> None:
    """Ours is, one that ended is not; of what is no mark nothing is known."""
    ours, ended = processes.read_mark(processes.make_mark()), processes.read_mark(dead)

    assert ours
    assert ended
    assert (ours.pid, ours.is_here, ours.is_gone) == (os.getpid(), True, False)
    assert (ended.is_here, ended.is_gone) == (True, True)
    assert processes.read_mark("0123456789abcdef") is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell")
def test_a_process_that_has_the_number_of_another_is_not_the_other() -> None:
    """What counts is when it began, too."""
    ours = processes.read_mark(processes.make_mark())

    assert ours
    assert processes.Holder(ours.machine, ours.pid, ours.started + 1).is_gone


def test_a_killed_process_is_gone_before_its_parent_looks() -> None:
    """A zombie does nothing any more."""
    code = "from stb_core.values import processes; print(processes.make_mark(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        holder = processes.read_mark(process.stdout.readline().strip())
        assert holder
        assert not holder.is_gone
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

        assert holder.is_gone
