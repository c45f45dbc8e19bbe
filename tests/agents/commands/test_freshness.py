"""The same command finds the same run only while what decides its results is the same, and says how old they are."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import threading
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agent_world import put_world
from stb_core.store import open_store
from stb_server.worker.options import ServerOptions
from threaded_server import served

Stb = Callable[..., subprocess.CompletedProcess[str]]
Run = Callable[..., dict[str, Any]]


class Service:
    """An agent at an address; ``answer`` is its turn, ``about`` what it answers to GET, None for 501."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] = {"answer": "It is sunny."}
        self.about: Any = None
        self.turns = 0
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                service.turns += 1
                self._send(service.answer)

            def do_GET(self) -> None:
                if service.about is None:
                    self.send_error(501)
                else:
                    self._send(service.about)

            def _send(self, document: Any) -> None:
                body = json.dumps(document).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/act"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def service() -> Generator[Service]:
    made = Service()
    yield made
    made.close()


@pytest.fixture
def run(tmp_path: Path, stb: Stb) -> Generator[Run]:
    """``run(agent, *flags)`` gives the document of a run over two queries."""
    url = f"sqlite:///{tmp_path / 'store.db'}"

    async def fill() -> None:
        store = await open_store(url)
        await put_world(store)
        await store.close()

    asyncio.run(fill())
    with served(ServerOptions(url, "world")) as server:

        def work(agent: str, *flags: str, code: int = 0, **variables: str) -> dict[str, Any]:
            args = ("run", "-a", agent, "-d", "world:G1_instruction", "--limit", "2", *flags, "--json")
            done = stb(*args, "--server", server, env=variables)
            assert done.returncode == code, done.stderr
            return {**(json.loads(done.stdout) if done.stdout else {}), "stderr": done.stderr}

        yield work


def write_agent(folder: Path, answer: str) -> str:
    """An agent whose answer stands in a module beside it."""
    (folder / "words.py").write_text(f"ANSWER = {answer!r}")
    (folder / "agent_mod.py").write_text("from words import ANSWER\ndef solve(task, tools): return ANSWER")
    return "agent_mod.py:solve"


def test_a_changed_helper_module_is_another_run(tmp_path: Path, run: Run) -> None:
    """With a name of one's own the command is refused and says why; unchanged, the same command continues."""
    agent = write_agent(tmp_path, "old")
    first, same = run(agent), run(agent)
    named = run(agent, "--name", "ci")

    write_agent(tmp_path, "new answer")
    second = run(agent)
    refused = run(agent, "--name", "ci", code=2)

    assert (first["run"], first["nothing_run"], same["nothing_run"]["trials"]) == (same["run"], None, 2)
    assert (second["nothing_run"], second["run"] != first["run"]) == (None, True)
    assert named["run"] == "ci"
    assert "A run 'ci' exists with other settings: the agent's code." in refused["stderr"]
    assert "--fresh" in refused["stderr"]


def test_a_module_that_is_loaded_by_a_computed_name_is_told(tmp_path: Path, run: Run) -> None:
    """The manifest does not hold it, so the command says it."""
    (tmp_path / "hidden_words.py").write_text("ANSWER = 'x'")
    (tmp_path / "agent_mod.py").write_text(
        "import importlib\ndef solve(task, tools): return importlib.import_module('hidden' + '_words').ANSWER"
    )

    (warning,) = run("agent_mod.py:solve")["warnings"]

    assert warning.startswith("NOT IN THE MANIFEST: the agent loaded hidden_words.py only while it worked.")


def test_code_that_changes_during_the_run_is_told(tmp_path: Path, run: Run) -> None:
    """The same command then makes a new run."""
    (tmp_path / "words.py").write_text("X = 0")
    (tmp_path / "agent_mod.py").write_text(
        "import words\ndef solve(task, tools):\n    open('words.py', 'w').write('X = 1')\n    return 'x'"
    )

    first, second = run("agent_mod.py:solve"), run("agent_mod.py:solve")

    assert first["warnings"][0].startswith(
        "CHANGED: words.py, of the agent's code, changed while the run was"
    )
    assert (first["run"] != second["run"], second["warnings"]) == (True, [])


def test_a_changed_agent_at_an_address_is_another_run(service: Service, run: Run) -> None:
    """Where it states its version to a GET."""
    service.about = {"agent": {"version": "1.0"}}
    first, same = run(service.url), run(service.url)
    service.about = {"agent": {"version": "1.1"}}
    second = run(service.url)

    assert (same["run"], same["nothing_run"]["trials"], same["warnings"]) == (first["run"], 2, [])
    assert (second["run"] != first["run"], second["nothing_run"], service.turns) == (True, None, 4)


@pytest.mark.parametrize("about", [None, "hello", {"agent": "x"}, {"agent": {"version": None}}])
def test_an_agent_whose_code_cannot_be_seen_is_told(service: Service, run: Run, about: Any) -> None:
    """With what to do; a version that is named makes it another run."""
    service.about = about
    blind = run(service.url)
    named = run(service.url, "--agent-version", "abc")
    same = run(service.url, STB_AGENT_VERSION="abc")
    other = run(service.url, STB_AGENT_VERSION="def")

    assert len(blind["warnings"]) == 1
    assert blind["warnings"][0].endswith("cannot be seen; name its version with --agent-version.")
    assert (named["warnings"], same["run"], same["nothing_run"]["trials"]) == ([], named["run"], 2)
    assert len({blind["run"], named["run"], other["run"]}) == 3


def test_a_version_in_turns_only_is_told(service: Service, run: Run) -> None:
    """The run cannot be named by what is known only later."""
    service.answer = {"answer": "x", "agent": {"version": "7"}}

    (warning,) = run(service.url)["warnings"]

    assert warning.startswith("The agent states its version (7) in its turns only")


def test_an_agent_that_changes_during_the_run_stops_it(service: Service, run: Run) -> None:
    """Before a result of the changed agent is stored."""
    service.about = {"agent": {"version": "1"}}
    service.answer = {"answer": "x", "agent": {"version": "2"}}

    stopped = run(service.url, code=1)

    assert re.match(
        r"Stopped: the agent at 127.* states version '2' now, and stated '1' before", stopped["stopped"]
    )
    assert len(stopped["missing"]) == 2


def test_an_agent_that_is_not_there_is_told_at_once(run: Run) -> None:
    """It is not waited for."""
    refused = run("http://127.0.0.1:9/agent", code=1)

    assert refused["stderr"] == (
        "stb: The agent at 127.0.0.1:9/agent cannot be reached (Connection refused). Start it, or check the address.\n"
    )


def test_fresh_makes_a_new_run_that_the_same_command_continues(tmp_path: Path, run: Run, stb: Stb) -> None:
    """With a number behind its name; the first one stays as it is."""
    agent = write_agent(tmp_path, "same")
    names = [run(agent, "--name", "ci", *flags)["run"] for flags in ((), ("--fresh",), ("--fresh",), ())]
    dry = run(agent, "--name", "ci", "--fresh", "--dry-run")
    continued = run(agent, "--name", "ci")
    listed = {row["run"]: row for row in json.loads(stb("ls", "--json").stdout)["rows"]}

    assert names == ["ci", "ci-2", "ci-3", "ci-3"]
    assert dry["run"] == "ci-4"
    assert (continued["run"], continued["nothing_run"]["trials"]) == ("ci-3", 2)
    assert listed.keys() == {"ci", "ci-2", "ci-3"}
    assert len({row["manifest_hash"] for row in listed.values()}) == 1


def test_a_fresh_run_may_be_of_a_changed_agent(tmp_path: Path, run: Run) -> None:
    """Each version of the agent then continues its own newest run."""
    agent = write_agent(tmp_path, "old")
    run(agent, "--name", "ci")
    write_agent(tmp_path, "new answer")
    fresh, again = run(agent, "--name", "ci", "--fresh"), run(agent, "--name", "ci")
    write_agent(tmp_path, "old")
    back = run(agent, "--name", "ci")

    assert [one["run"] for one in (fresh, again, back)] == ["ci-2", "ci-2", "ci"]
    assert back["nothing_run"]["trials"] == 2


def test_a_run_of_that_name_made_by_hand_is_never_taken(tmp_path: Path, run: Run) -> None:
    """A name that looks like a number behind another is a name."""
    agent = write_agent(tmp_path, "same")
    made = [run(agent, "--name", name)["run"] for name in ("ci-2", "ci", "ci-2")]

    assert (made, run(agent, "--name", "ci", "--fresh")["run"]) == (["ci-2", "ci", "ci-2"], "ci-3")
