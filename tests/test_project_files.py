"""The files that a project is run by stay true: workflows, versions, locks, citation, one-word tasks."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import REPOSITORY

PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
TEMPLATES = sorted((REPOSITORY / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
LOCK = (REPOSITORY / "requirements-dev.lock").read_text().splitlines()


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def steps_of(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def test_ci_tests_each_python_that_is_promised() -> None:
    """The matrix of the workflow and the classifiers name the same versions, the lowest is the one required."""
    promised = [
        found.group(1)
        for line in PROJECT["project"]["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
    ]

    linux = document(REPOSITORY / ".github/workflows/ci.yml")["jobs"]["linux"]

    assert promised == linux["strategy"]["matrix"]["python"]
    assert PROJECT["project"]["requires-python"] == f">={promised[0]}"
    assert [".ci/run"] == steps_of(linux)


def test_ci_runs_the_readmes_test_command_on_macos() -> None:
    """Word for word."""
    readme = re.findall(
        r"^```sh\n(.*?)^```$", (REPOSITORY / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )

    assert [readme[1].strip()] == steps_of(document(REPOSITORY / ".github/workflows/ci.yml")["jobs"]["macos"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_needs_no_secret(path: Path) -> None:
    """Beside the token that every run has; and it may write only where it says so."""
    assert "secrets." not in path.read_text()
    assert {"contents": "read"} == document(path)["permissions"]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_an_issue_template_can_be_read(path: Path) -> None:
    """A broken one is not shown."""
    assert document(path)


def test_the_version_stands_in_one_place() -> None:
    """``pyproject.toml``; the code asks the installed distribution."""
    version = PROJECT["project"]["version"]
    sources = [
        path
        for room in ("core", "server", "agents", "evaluator")
        for path in (REPOSITORY / room).rglob("*.py")
    ]

    assert [] == [str(path) for path in sources if version in path.read_text()]


def test_the_lock_pins_versions_and_nothing_else() -> None:
    """No address, no path, no build for one machine."""
    pins = [line for line in LOCK if not line.startswith("#")]

    assert [] == [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", pin)]


def test_the_lock_holds_what_the_project_asks_for() -> None:
    """Each requirement of the package and of its development environment has a version there."""
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    asked = [
        *project["dependencies"],
        *(one for name, extra in extras.items() if name != "vllm" for one in extra),
    ]
    names = {re.split(r"[\[>=<]", one)[0] for one in asked} - {project["name"]}
    locked = {normal(line.split("==")[0]) for line in LOCK}

    assert set() == {normal(name) for name in names} - locked


def normal(name: str) -> str:
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_citation_names_the_paper() -> None:
    """With all nine authors; the software's are its contributors."""
    citation = document(REPOSITORY / "CITATION.cff")
    paper = citation["preferred-citation"]

    assert citation["authors"] == [{"name": "The StableToolBench contributors"}]
    assert citation["license"] == PROJECT["project"]["license"]
    assert ["arXiv:2403.07714"] == [one["value"] for one in paper["identifiers"]]
    assert (9, "Guo", "Liu") == (
        len(paper["authors"]),
        *(paper["authors"][n]["family-names"] for n in (0, -1)),
    )


def test_hooks_download_nothing() -> None:
    """They run the programs of the development environment."""
    repositories = document(REPOSITORY / ".pre-commit-config.yaml")["repos"]

    assert ["local"] == [repository["repo"] for repository in repositories]
    assert {"system"} == {hook["language"] for hook in repositories[0]["hooks"]}


def test_contributing_names_each_one_word_task() -> None:
    """And none that is not there."""
    tasks = re.findall(r"^def ([a-z]+)\(session", (REPOSITORY / "noxfile.py").read_text(), re.MULTILINE)
    page = (REPOSITORY / "CONTRIBUTING.md").read_text()

    assert set(tasks) == set(re.findall(r"^\| `nox -s ([a-z]+)` \|", page, re.MULTILINE))


def test_contributing_names_each_mark() -> None:
    """And what it means for the two lengths of CI."""
    marks = {mark.split(":")[0] for mark in PROJECT["tool"]["pytest"]["ini_options"]["markers"]}
    page = (REPOSITORY / "CONTRIBUTING.md").read_text()

    assert marks == set(re.findall(r"^\| `@pytest.mark.([a-z_]+)` \|", page, re.MULTILINE))


def test_contributing_names_each_entry_point_group() -> None:
    """They are public: others' packages use them."""
    page = (REPOSITORY / "CONTRIBUTING.md").read_text()

    assert [] == [group for group in PROJECT["project"]["entry-points"] if f"`{group}`" not in page]


@pytest.mark.parametrize("argument", ["--short", "-h"])
def test_ci_refuses_what_it_does_not_know(argument: str) -> None:
    """In place of running for a quarter of an hour."""
    done = subprocess.run([REPOSITORY / ".ci/run", argument], capture_output=True, text=True, check=False)

    assert (2, "usage: .ci/run [--long]\n") == (done.returncode, done.stderr)


def test_the_public_modules_are_there() -> None:
    """What CONTRIBUTING promises to others can be imported."""
    [row] = re.findall(
        r"^\| Python names \|(.*?);", (REPOSITORY / "CONTRIBUTING.md").read_text(), re.MULTILINE
    )
    modules = re.findall(r"`(stb_[\w.]+)`", row)

    assert modules
    assert [] == [module for module in modules if importlib.util.find_spec(module) is None]
