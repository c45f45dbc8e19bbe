"""``stb run`` as a person uses it: in a process of its own."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_world import put_world
from llm_server import LLMServer, obliging, status, text
from stb_core.store import open_store
from stb_processes import started, wait_for

Stb = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A working directory whose store holds the small world, without a server."""
    store = await open_store(f"sqlite:///{tmp_path / 'store.db'}")
    await put_world(store)
    await store.close()
    return tmp_path


@pytest.fixture
def cot(world_url: str, llm: LLMServer) -> tuple[str, ...]:
    """A run of ``cot`` over the world at the test's own servers."""
    return ("run", "-a", "cot", "-m", "stub/any", "--server", world_url)


def private_servers(folder: Path) -> list[str]:
    """Command lines of the private servers that live and work in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode()
            place = (path.parent / "cwd").resolve()
        except OSError:
            continue
        if "stb_agents.runs.private_server" in text and place == folder.resolve():
            found.append(text)
    return found


def test_a_run_needs_no_server_and_prints_what_it_did(folder: Path, stb: Stb) -> None:
    """It starts one, says so, and ends it; stdout holds the table, stderr what to do next."""
    done = stb("run", "-a", "scripted", "-d", "world:G1_instruction", "--limit", 2)

    assert done.returncode == 0
    assert "answered 2" in done.stdout
    assert "recorded 100.0" in done.stdout
    assert done.stderr.startswith("Starting a server…\nNext: stb score scripted-world-G1_instruction-")


@pytest.mark.parametrize(
    ("mode", "flags", "words"),
    [
        ("auto", {}, "no simulator model: calls without a recording get template answers"),
        ("simulate", {"STB_SIMULATOR": "none"}, "no simulator: calls that no recording or real API answers"),
        ("replay", {}, ""),
    ],
)
def test_a_run_says_at_the_start_what_stands_in_for_a_simulator(
    folder: Path, stb: Stb, mode: str, flags: dict[str, str], words: str
) -> None:
    """On stderr, before the first trial; in replay no simulator is asked, and nothing is said."""
    environment = {"STB_DATABASE_URL": f"sqlite:///{folder / 'store.db'}", **flags}

    done = stb("run", "-a", "scripted", "-d", "world", "--limit", 1, "--mode", mode, env=environment)

    assert done.returncode == 0, done.stderr
    _, first, *_ = done.stderr.splitlines()  # after the word that a server is started
    assert first.startswith(f"NOTE: {words}") if words else "simulator" not in done.stderr


def test_a_dry_run_knows_what_is_done(folder: Path, stb: Stb) -> None:
    """It names the same run, though it starts no server to ask."""
    args = ("run", "-a", "scripted", "-d", "world:G1_instruction", "--limit", 2, "--json")
    done = json.loads(stb(*args).stdout)

    (row,) = json.loads(stb(*args, "--dry-run").stdout)["rows"]

    assert (row["run"], row["trials_left"]) == (done["run"], 0)


async def test_its_json_document_has_rows(stb: Stb, world_url: str) -> None:
    """One a group and one for all, and nothing else on stdout."""
    args = ("run", "-a", "scripted-hasty", "-d", "world", "--json", "--name", "hasty", "--server", world_url)

    done = await asyncio.to_thread(stb, *args)

    document = json.loads(done.stdout)
    assert (document["run"], document["complete"], document["missing"]) == ("hasty", True, [])
    assert [(row["group"], row["n_done"]) for row in document["rows"]] == [
        ("G1_instruction", 4),
        ("G3_instruction", 4),
        ("all", 8),
    ]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('{"name": "Search", "arguments": {}}', "CALLS AS TEXT: in 4 of 4 trials"),
        ("It is sunny.", "NO CALLS: in 4 of 4 trials"),
        ("", "NO CALLS: in 4 of 4 trials"),
    ],
)
async def test_a_run_without_calls_says_so_before_its_table(
    stb: Stb, cot: tuple[str, ...], llm: LLMServer, said: str, told: str
) -> None:
    """In the first line, with what to do; a model that calls functions is not spoken of."""
    args, env = (*cot, "-d", "world:G3_instruction"), {"STUB_BASE_URL": llm.url}
    llm.rule = lambda _: text(said)
    silent = await asyncio.to_thread(stb, *args, env=env)
    llm.rule = obliging
    well = await asyncio.to_thread(stb, *args, "--name", "well", env=env)

    assert (0, 0) == (silent.returncode, well.returncode)
    assert silent.stdout.startswith(told)
    assert well.stdout.lstrip().startswith("well")


async def test_an_incomplete_run_is_exit_code_1_with_the_list(
    stb: Stb, cot: tuple[str, ...], llm: LLMServer
) -> None:
    """Which trial has no result, and why; the same command again completes it."""
    llm.answer(status(404, "no such model"))
    args = (*cot, "-d", "world:G3_instruction", "--max-connections", "1")
    env = {"STUB_BASE_URL": llm.url}

    first = await asyncio.to_thread(stb, *args, env=env)
    second = await asyncio.to_thread(stb, *args, env=env)

    assert (first.returncode, second.returncode) == (1, 0)
    assert "no result: G3_instruction/10 trial 0: stub/any is not available: HTTP 404" in first.stderr
    assert "1 of 4 trials have no result. The same command again repeats them." in first.stderr


async def test_an_endpoint_that_refuses_everything_is_exit_code_1_with_its_words(
    stb: Stb, cot: tuple[str, ...], llm: LLMServer
) -> None:
    """Once, however many trials it spoiled."""
    llm.rule = lambda _: status(400, "llama2 does not support tools")
    args = (*cot, "-d", "world:G3_instruction")
    env = {"STUB_BASE_URL": llm.url}

    done = await asyncio.to_thread(stb, *args, env=env)
    document = await asyncio.to_thread(stb, *args, "--json", env=env)

    reason = "stub/any does not accept the request: HTTP 400, llama2 does not support tools."
    assert done.returncode == document.returncode == 1
    assert f"no result: G3_instruction/10 trial 0 and 3 more: {reason}" in done.stderr
    assert done.stderr.count("does not support tools") == 1
    assert json.loads(document.stdout)["reasons"] == [{"reason": reason, "trials": 4}]


async def test_queries_that_the_model_refuses_are_named_by_kind(
    stb: Stb, cot: tuple[str, ...], llm: LLMServer
) -> None:
    """The run is complete, and its table, the line below it and stb show count them; a model is to judge it."""
    too_long = status(400, "maximum context length is 4096 tokens")
    llm.rule = lambda body: too_long if "Osterby" in str(body["messages"]) else obliging(body)
    env = {"STUB_BASE_URL": llm.url}

    done = await asyncio.to_thread(stb, *cot, "-d", "world:G3_instruction", "--name", "r", env=env)
    shown = await asyncio.to_thread(stb, "show", "r", "--json")

    assert done.returncode == 0
    assert "answered 3, context_exceeded 1" in done.stdout
    assert "Refused by the model's endpoint, and unsolved: context_exceeded 1." in done.stderr
    assert done.stderr.endswith("Next: stb score r --judge PROVIDER/MODEL\n")
    (row,) = json.loads(shown.stdout)["rows"]
    assert (row["answered"], row["context_exceeded"]) == (3, 1)


def test_a_run_that_is_complete_says_first_that_nothing_was_run(folder: Path, stb: Stb) -> None:
    """With how many results there are, and how old they are."""
    args = ("run", "-a", "scripted", "-d", "world", "--name", "ci")
    first = json.loads(stb(*args, "--json").stdout)

    again = stb(*args)
    nothing = json.loads(stb(*args, "--json").stdout)["nothing_run"]

    day, minute = nothing["oldest"][:10], nothing["oldest"][11:16]
    assert first["nothing_run"] is None
    assert (nothing["trials"], nothing["oldest"] <= nothing["newest"]) == (8, True)
    assert again.stdout.startswith(f"Nothing to run: all 8 results of ci are there, from {day} {minute}")
    assert again.stdout.splitlines()[0].endswith(" UTC. --fresh makes a new run.")
    assert again.returncode == 0


@pytest.mark.linux
async def test_a_killed_run_leaves_no_server_behind(folder: Path, llm: LLMServer) -> None:
    """The server that it started ends with it."""
    llm.behaviour.latency_s = 0.2
    args = ("run", "-a", "cot", "-m", "stub/any", "-d", "world")
    with started(folder, *args, env={"STUB_BASE_URL": llm.url}) as process:
        await wait_for(lambda: llm.count > 0, process)
        there = private_servers(folder)

    assert there
    await wait_for(lambda: not private_servers(folder))


async def test_ctrl_c_keeps_what_is_finished(
    stb: Stb, cot: tuple[str, ...], llm: LLMServer, tmp_path: Path
) -> None:
    """One line, exit code 130, and the next run goes on from there."""
    env = {"STUB_BASE_URL": llm.url}
    args = (*cot, "-d", "world:G3_instruction", "--max-connections", "1")
    llm.behaviour.latency_s = 0.05
    with started(tmp_path, *args, env=env) as process:
        await wait_for(lambda: llm.count >= 5, process)
        process.send_signal(signal.SIGINT)
        _, said = await asyncio.to_thread(process.communicate)

    done = await asyncio.to_thread(stb, *args, "--json", env=env)

    assert process.returncode == 130
    assert (
        said.lstrip() == "stb: stopped. What was finished is kept; run the same command again to continue.\n"
    )
    assert json.loads(done.stdout)["complete"]
    assert llm.paid <= 4 * 3 + 1


@pytest.mark.parametrize(
    ("args", "code", "line"),
    [
        (["-a", "nope", "-d", "world"], 2, "stb: There is no agent 'nope'. There are: cot, "),
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
