"""Each example agent plays queries against a replaying server, and is scored like one that comes with it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import REPOSITORY, clean_environment
from llm_server import LLMServer, llm, llm_server
from stb_core.store import open_store
from stb_server.datasets.release import find_release, import_release
from stb_server.worker.options import ServerOptions
from threaded_server import in_thread, served

__all__ = ["llm", "llm_server"]

pytestmark = pytest.mark.slow

EXAMPLES = REPOSITORY / "examples"


@dataclass(frozen=True)
class World:
    """A server of a dataset, and how many queries of which group are to be played."""

    server: str
    store_url: str
    dataset: str
    group: str
    limit: int

    def run(self, *command: str) -> str:
        """What a command prints, in the examples' environment."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            command,
            env=clean_environment(STB_DATABASE_URL=self.store_url, OPENAI_API_KEY="none", PATH=path),
            cwd=Path(self.store_url.removeprefix("sqlite:///")).parent,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def python(self, example: str, run: str, *more: str) -> str:
        """Run an example that is a program."""
        place = "--server", self.server, "--dataset", self.dataset, "--group", self.group
        return self.run(
            *(sys.executable, str(EXAMPLES / example), *place),
            *("--limit", str(self.limit), "--run", run, *more),
        )

    def usages(self, run: str) -> list[dict[str, int]]:
        """What the models of a run's trials have consumed."""
        with closing(sqlite3.connect(self.store_url.removeprefix("sqlite:///"))) as store:
            rows = store.execute("SELECT document FROM trajectories WHERE run = ?", [run]).fetchall()
        return [json.loads(document)["usage"] for (document,) in rows]

    def is_scored(self, run: str) -> bool:
        """Whether a run is complete and has a score over all its queries, as those of built-in agents have."""
        listed = json.loads(self.run("stb", "ls", "--json"))["rows"]
        (row,) = [row for row in listed if row["run"] == run]
        scored = json.loads(self.run("stb", "score", run, "--judge", "rules", "--json"))["rows"]
        counts = {(row["n"], row["n_total"], row["n_error"]) for row in scored if row["group"] == self.group}
        return row["complete"] is True and counts == {(self.limit, self.limit, 0)}


@pytest.fixture(scope="module", params=["demo", "real"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, llm_server: LLMServer
) -> Generator[World]:
    """The bundled dataset with three queries, and the real one with ten of G1_category."""
    folder = tmp_path_factory.mktemp("examples")
    url = f"sqlite:///{folder / 'store.db'}"
    if request.param == "demo":
        demo: Path = request.getfixturevalue("demo_folder")
        shutil.copytree(demo / ".stb", folder, dirs_exist_ok=True)
        url, group, limit = f"sqlite:///{folder / 'stb.db'}", "G1_tool", 3
    else:
        release = find_release(request.getfixturevalue("real_data") / "release")
        group, limit = "G1_category", 10

        async def fill() -> None:
            store = await open_store(url)
            await import_release(store, release, "real", advance=lambda *_: None)
            await store.close()

        in_thread(fill())
    options = ServerOptions(
        url, request.param, proxy="openai", environment={"OPENAI_BASE_URL": llm_server.url}
    )
    with served(options) as address:
        yield World(address, url, request.param, group, limit)


def test_a_plain_callable(world: World) -> None:
    """Five lines of Python, given to ``stb run``."""
    agent = f"{EXAMPLES / 'plain_callable.py'}:solve"
    where = f"{world.dataset}:{world.group}"
    world.run(
        *("stb", "run", "-a", agent, "-d", where, "--limit", str(world.limit)),
        *("--server", world.server, "--name", "plain"),
    )

    assert world.is_scored("plain")


@pytest.mark.parametrize("example", ["openai_agents", "langgraph"])
def test_an_sdk_over_mcp(world: World, llm: LLMServer, example: str) -> None:
    """Its model's calls are counted by the proxy, its tools' calls by the server."""
    said = world.python(f"{example}_mcp.py", example, "--model", "any")

    assert world.limit == said.count("answered")
    assert world.is_scored(example)
    assert llm.count == sum(usage["model_calls"] for usage in world.usages(example)) > world.limit


def test_curl_alone(world: World) -> None:
    """The episodes API needs nothing but HTTP."""
    place = world.server, world.dataset, world.group
    said = world.run("bash", str(EXAMPLES / "curl_agent.sh"), *place, "curl", str(world.limit))

    assert world.limit == said.count("answered")
    assert world.is_scored("curl")


def test_a_reinforcement_learning_loop(world: World) -> None:
    """What it has learned pays: the run after training gains no less than training did."""
    said = world.python("rl_loop.py", "rl", "--episodes", "3")

    gains = [line.rpartition(":")[2].split(" in training, then ") for line in said.splitlines()]
    assert world.limit == len(gains)
    assert all(float(before) <= float(after) for before, after in gains)
    assert world.is_scored("rl")
