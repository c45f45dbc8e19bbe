"""Each recipe of ``docs/agents.md`` is done to the letter: installed, run on ten queries, and scored.

A section's fences say what to type: ``shell install``, files by their names, ``shell run``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import REPOSITORY, clean_environment, unavailable
from llm_server import LLMServer, llm, llm_server
from stb_server.episodes.closing_replies import CLOSING_WORDS
from stb_server.worker.options import ServerOptions
from threaded_server import served

__all__ = ["llm", "llm_server"]

QUERIES = 10
_SECTION = re.compile(r"^## (.+)\n((?:(?!^## ).*\n)+)", re.MULTILINE)
_FENCE = re.compile(r"^```\w+ ([\w.]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_DRIVER = "python examples/any_command.py"


@dataclass(frozen=True)
class Recipe:
    """What a section says: the lines that install and run the agent, and its files."""

    install: str
    run: str
    files: dict[str, str]


def recipes() -> dict[str, Recipe]:
    """The recipes of the page by their titles."""
    found = {}
    for title, section in _SECTION.findall((REPOSITORY / "docs" / "agents.md").read_text()):
        fences = dict(_FENCE.findall(section))
        if "run" in fences:
            found[title] = Recipe(fences.pop("install"), fences.pop("run"), fences)
    return found


RECIPES = recipes()
INSPECTOR = "MCP Inspector"


@dataclass
class Kitchen:
    """A server of the demo, and a folder in which a recipe is tried."""

    server: str
    folder: Path
    store_url: str

    def install(self, lines: str) -> None:
        """Install into an environment of the folder's own."""
        self.folder.mkdir()
        # The versions of this project's environment are not those of theirs.
        environment = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
        if "npm " in lines:
            if shutil.which("npm") is None:
                unavailable("npm")
            (self.folder / "package.json").write_text("{}")
        else:
            subprocess.run([sys.executable, "-m", "venv", self.folder / "venv"], check=True, timeout=600)
        done = subprocess.run(
            ["bash", "-euc", lines],
            env={**environment, "PATH": f"{self.folder}/venv/bin:{os.environ['PATH']}"},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, lines: str, limit: int) -> str:
        """Run a recipe's command; returns what it prints."""
        assert lines.count(_DRIVER) == 1
        driver = f"{sys.executable} {REPOSITORY / 'examples' / 'any_command.py'}"
        home = self.folder / "home"
        home.mkdir()
        bins = f"{self.folder}/venv/bin", f"{self.folder}/node_modules/.bin", os.environ["PATH"]
        done = subprocess.run(
            ["bash", "-euc", lines.replace(_DRIVER, f"{driver} --server {self.server} --limit {limit}")],
            env={"PATH": os.pathsep.join(bins), "HOME": str(home), "LANG": "C.UTF-8"},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-5000:]
        return done.stdout

    def scored(self, run: str) -> dict[str, tuple[int, int, int]]:
        """How many queries of each group were judged, of how many, and without a verdict for an error."""
        done = subprocess.run(
            [Path(sys.executable).parent / "stb", "score", run, "--judge", "rules", "--json"],
            env=clean_environment(STB_DATABASE_URL=self.store_url),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        rows = [row for row in json.loads(done.stdout)["rows"] if row["group"].startswith("G")]
        return {row["group"]: (row["n"], row["n_total"], row["n_error"]) for row in rows}

    def model_calls(self, run: str) -> int:
        """How many model calls the trajectories of a run have counted."""
        with closing(sqlite3.connect(self.store_url.removeprefix("sqlite:///"))) as store:
            rows = store.execute("SELECT document FROM trajectories WHERE run = ?", [run]).fetchall()
        return sum(json.loads(document)["usage"]["model_calls"] for (document,) in rows)


@pytest.fixture
def kitchen(demo_folder: Path, tmp_path: Path, llm: LLMServer) -> Generator[Kitchen]:
    """The server hands model calls on to the scripted one."""
    shutil.copy(demo_folder / ".stb" / "stb.db", tmp_path)
    url = f"sqlite:///{tmp_path / 'stb.db'}"
    options = ServerOptions(url, "demo", proxy="openai", environment={"OPENAI_BASE_URL": llm.url})
    with served(options) as address:
        yield Kitchen(address, tmp_path / "recipe", url)


@pytest.mark.soak
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("title", sorted(RECIPES.keys() - {INSPECTOR}))
def test_a_recipe(kitchen: Kitchen, llm: LLMServer, title: str) -> None:
    """The agent plays ten queries with nothing changed but the address, ends by itself, and is scored."""
    recipe = RECIPES[title]
    kitchen.install(recipe.install)
    for name, text in recipe.files.items():
        (kitchen.folder / name).write_text(text)
    said = kitchen.run(recipe.run, QUERIES)

    run = re.findall(r"--run ([\w-]+)", recipe.run)[0]
    assert "the command ended with" not in said
    assert QUERIES == len(re.findall(r"^query \d+: answered$", said, re.MULTILINE)), said[-5000:]
    if "--finish text" not in recipe.run:
        assert QUERIES == said.count(CLOSING_WORDS)
    assert {"G1_instruction": (6, 6, 0), "G1_category": (4, 4, 0)} == kitchen.scored(run)
    assert llm.count == kitchen.model_calls(run)


@pytest.mark.soak
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("version", ["0.15", "2.12"])
def test_the_inspector_connects(kitchen: Kitchen, version: str) -> None:
    """With the address as it is given, in both of its generations."""
    recipe = RECIPES[INSPECTOR]
    assert recipe.install.count("@0.15") == 1
    kitchen.install(recipe.install.replace("@0.15", f"@{version}"))
    said = kitchen.run(recipe.run, 2)

    assert 2 == said.count("gave_up"), said


def test_each_recipe_can_be_done() -> None:
    """Every recipe has what the long test needs, and every file of it is run."""
    assert {"OpenAI Agents SDK", "LangGraph", "pydantic-ai", "Vercel AI SDK", "Claude Code"} <= RECIPES.keys()
    unused = [
        name for recipe in RECIPES.values() for name in recipe.files if not recipe.run.rstrip().endswith(name)
    ]
    assert [] == unused
