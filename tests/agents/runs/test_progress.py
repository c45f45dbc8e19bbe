"""What ``stb run`` says on stderr while it works where there is no terminal."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from agent_world import put_world
from evaluator_makers import make_run, trajectory
from stb_agents.runs import progress
from stb_core.store import Store
from stb_core.values.trajectories import Step, StopReason
from stb_processes import started, wait_for

MISS = Step(function="f", arguments="{}", provenance="miss", category="C")


async def test_a_line_tells_how_far_a_run_is(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trials of all sessions; the rate, failures and misses of this one; again and again until the end."""
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.01)
    run = await make_run(sqlite_store, [], expected={"G1_tool": [str(number) for number in range(2_000)]})
    said = ""
    async with progress.shown_progress(run, 1_000, quiet=False) as bar:
        bar.advance(trajectory("1", steps=[MISS, MISS]))
        bar.advance(trajectory("2", stop=StopReason.INFRASTRUCTURE))
        async with asyncio.timeout(120):
            while said.count("\n") < 2:
                await asyncio.sleep(0.01)
                said += capsys.readouterr().err

    assert all(line.startswith("r: 1,002 of 2,000 trials done, ") for line in said.splitlines())
    assert all(line.endswith(" per minute, 1 failed, 2 misses") for line in said.splitlines())


async def test_nothing_is_said_where_that_is_not_wanted(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As beside one JSON document."""
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    run = await make_run(sqlite_store, [], expected={"G1_tool": ["1"]})

    async with progress.shown_progress(run, 0, quiet=True):
        for _ in range(20):
            await asyncio.sleep(0)

    assert capsys.readouterr().err == ""


async def test_a_run_that_is_told_to_stop_while_its_server_starts_says_so(
    sqlite_store: Store, tmp_path: Path
) -> None:
    """Before it holds a claim it ends with the same words and exit code as after."""
    await put_world(sqlite_store)
    args = "run", "-a", "scripted", "-d", "world"
    said: list[str] = []

    with started(
        tmp_path, *args, env={"STB_DATABASE_URL": sqlite_store.engine.url.render_as_string()}
    ) as process:
        assert process.stderr
        said.append(await asyncio.to_thread(process.stderr.readline))
        process.send_signal(signal.SIGTERM)
        said.append(await asyncio.to_thread(process.stderr.read))
        await wait_for(lambda: process.poll() is not None)

    assert said[0] == "Starting a server…\n"
    assert said[1] == "stb: stopped. What was finished is kept; run the same command again to continue.\n"
    assert process.returncode == 143
