"""A remote agent whose process is not there, or hangs, is no result; one that is alive is slow at its own cost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from agent_world import QUERIES, ending_when
from stb_agents.custom.remote import Remote
from stb_agents.environment.agent import Task
from stb_agents.environment.server_client import VirtualClient
from stb_agents.runs.request import RunRequest
from stb_agents.runs.run import run_agent
from stb_agents.runs.trial import run_trial
from stb_core.errors import ServiceError
from stb_core.settings import Settings
from stb_core.store import Store
from stb_core.values.trajectories import StopReason

AGENT = """
import json, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

class Agent(BaseHTTPRequestHandler):
    def do_POST(self):
        turn = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if turn["calls"]:
            Path("second").touch()
            time.sleep(600)
        call = {"name": "current_for_sky_watch", "arguments": {"city": "Velmora"}}
        body = json.dumps({"calls": [call]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Agent)
print(server.server_port, flush=True)
server.serve_forever()
"""
Started = tuple[subprocess.Popen[str], str]


@pytest.fixture
def started(tmp_path: Path) -> Generator[Started]:
    """The process of an agent that makes a call in its first turn and never answers the second; its address."""
    process = subprocess.Popen([sys.executable, "-c", AGENT], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield process, f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.communicate()


def lives_on(_: subprocess.Popen[str]) -> None:
    """Does nothing to the process."""


def hangs(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGSTOP)


def dies(process: subprocess.Popen[str]) -> None:
    process.kill()


@pytest.mark.parametrize(
    ("happens", "stop"),
    [
        (lives_on, StopReason.MAX_SECONDS),
        (hangs, StopReason.INFRASTRUCTURE),
        (dies, StopReason.INFRASTRUCTURE),
    ],
)
async def test_silence_is_a_result_only_of_a_process_that_lives(
    started: Started,
    client: VirtualClient,
    tmp_path: Path,
    happens: Callable[[subprocess.Popen[str]], None],
    stop: StopReason,
) -> None:
    """When the time is up it is asked for a sign of life, which a process that hangs cannot give."""
    process, url = started
    has_happened = False

    def is_over() -> bool:
        nonlocal has_happened
        if (tmp_path / "second").exists() and not has_happened:
            has_happened = True
            happens(process)
        return has_happened

    trajectory = await run_trial(Remote(url), Task(QUERIES[0]), ending_when(client, is_over), None)

    assert (stop, 1) == (trajectory.stop, len(trajectory.steps))


async def test_an_agent_that_is_not_there_is_noticed_before_the_first_query(
    world_url: str, sqlite_store_url: str, sqlite_store: Store
) -> None:
    """In the words in which a model is missed; nothing is stored, so that the name is free."""
    settings = Settings(sqlite_store_url, {}, {})
    request = RunRequest("http://127.0.0.1:9/agent", "world", server=world_url, name="r")

    with pytest.raises(ServiceError) as missed:
        await run_agent(settings, request, quiet=True)

    assert (
        "The agent at 127.0.0.1:9/agent cannot be reached (Connection refused)."
        " Start it, or check the address."
    ) == str(missed.value)
    assert (1, []) == (missed.value.exit_code, await sqlite_store.runs.all())
