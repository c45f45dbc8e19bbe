"""``stb run`` as a person uses it: in a process of its own, against a server that it starts itself."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import clean_environment
from llm_server import LLMServer, status
from stb_core.store import open_store

from .world import put_world

Stb = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A working directory whose store holds the small world."""
    store = await open_store(f"sqlite:///{tmp_path / 'store.db'}")
    await put_world(store)
    await store.close()
    return tmp_path


@contextmanager
def started(folder: Path, *args: str, env: dict[str, str]) -> Generator[subprocess.Popen[str]]:
    """The command in a process that does not outlive the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "stb_core.cli", *args],
        cwd=folder,
        env=clean_environment(STB_DATABASE_URL=f"sqlite:///{folder / 'store.db'}", **env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(
    condition: Callable[[], bool], process: subprocess.Popen[str] | None = None, seconds: float = 60
) -> None:
    """Until something is so; not longer than the process lives."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        assert process is None or process.poll() is None
        time.sleep(0.005)


async def hashes(folder: Path, run: str) -> list[str]:
    store = await open_store(f"sqlite:///{folder / 'store.db'}")
    found = [trajectory.content_hash async for trajectory in store.runs.trajectories(run)]
    await store.close()
    return found


def servers() -> list[str]:
    """Command lines of the private servers that live."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if "stb_agents.private_server" in text:
            found.append(text)
    return found


def test_a_run_needs_no_server_and_prints_what_it_did(folder: Path, stb: Stb) -> None:
    """It starts one and ends it; stdout holds the table, stderr what to do next."""
    done = stb("run", "-a", "scripted", "-d", "world:G1_instruction", "--limit", 2)

    assert done.returncode == 0
    assert "answered 2" in done.stdout
    assert "recorded 100.0" in done.stdout
    assert done.stderr.startswith("Next: stb score scripted-world-G1_instruction-")


def test_its_json_document_has_rows(folder: Path, stb: Stb) -> None:
    """One a group and one for all, and nothing else on stdout."""
    done = stb("run", "-a", "scripted-hasty", "-d", "world", "--json", "--name", "hasty")

    document = json.loads(done.stdout)
    assert (document["run"], document["complete"], document["missing"]) == ("hasty", True, [])
    assert [(row["group"], row["n_done"]) for row in document["rows"]] == [
        ("G1_instruction", 4),
        ("G3_instruction", 4),
        ("all", 8),
    ]


def test_an_incomplete_run_is_exit_code_1_with_the_list(folder: Path, stb: Stb, llm: LLMServer) -> None:
    """Which trial has no result, and why; the same command again completes it."""
    llm.answer(status(404, "no such model"))
    args = ("run", "-a", "cot", "-m", "stub/any", "-d", "world:G3_instruction", "--max-connections", "1")
    env = {"STUB_BASE_URL": llm.url}

    first, second = stb(*args, env=env), stb(*args, env=env)

    assert (first.returncode, second.returncode) == (1, 0)
    assert "no result: G3_instruction/10 trial 0: stub/any is not available: HTTP 404" in first.stderr
    assert "1 trials have no result. The same command again goes on." in first.stderr


@pytest.mark.slow
async def test_a_killed_run_ends_as_if_nothing_had_happened(folder: Path, stb: Stb, llm: LLMServer) -> None:
    """SIGKILL three times: the same content, no trial twice, and no server left behind.

    Paid calls are those of an uninterrupted run and at most the ones in flight at each kill.
    """
    env = {"STUB_BASE_URL": llm.url}
    args = ("run", "-a", "cot", "-m", "stub/any", "-d", "world", "-k", "2", "--max-connections", "4")
    stb(*args, "--name", "whole", env=env)
    needed = llm.paid
    llm.behaviour.latency_s = 0.05

    for kill in range(3):
        asked = llm.count
        with started(folder, *args, "--name", "killed", env=env) as process:
            wait_for(lambda asked=asked, more=5 + kill: llm.count >= asked + more, process)
    ended = stb(*args, "--name", "killed", env=env)

    assert ended.returncode == 0
    assert await hashes(folder, "killed") == await hashes(folder, "whole")
    assert needed <= llm.paid - needed <= needed + 3 * 4
    wait_for(lambda: not servers(), seconds=15)


def test_ctrl_c_keeps_what_is_finished(folder: Path, stb: Stb, llm: LLMServer) -> None:
    """One line, exit code 130, and the next run goes on from there."""
    env = {"STUB_BASE_URL": llm.url}
    args = ("run", "-a", "cot", "-m", "stub/any", "-d", "world:G3_instruction", "--max-connections", "1")
    llm.behaviour.latency_s = 0.05
    with started(folder, *args, env=env) as process:
        wait_for(lambda: llm.count >= 5, process)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[1]

    done = stb(*args, "--json", env=env)

    assert process.returncode == 130
    assert said.lstrip() == "stb: stopped. What was finished is kept; run the same command again to go on.\n"
    assert json.loads(done.stdout)["complete"]
    assert llm.paid <= 4 * 3 + 1


@pytest.mark.parametrize(
    ("args", "code", "line"),
    [
        (["-a", "nope", "-d", "world"], 2, "stb: There is no agent 'nope'. There are: "),
        (
            ["-a", "cot", "-d", "world"],
            2,
            "stb: The agent cot asks a model. Name one with -m PROVIDER/MODEL.",
        ),
        (
            ["-a", "scripted", "-d", "world", "--server", "http://127.0.0.1:9"],
            1,
            "stb: The server at http://",
        ),
        (
            ["-a", "cot", "-m", "stub/any", "-d", "world"],
            1,
            "stb: stub/any is not available: http://127.0.0.1:9/v1 cannot be reached",
        ),
    ],
)
def test_bad_input_is_one_line(folder: Path, stb: Stb, args: list[str], code: int, line: str) -> None:
    """With what to do, and no traceback."""
    done = stb("run", *args, env={"STUB_BASE_URL": "http://127.0.0.1:9/v1"})

    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
