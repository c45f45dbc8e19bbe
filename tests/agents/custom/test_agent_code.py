"""What decides what an agent does is part of its identity."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import sys
from pathlib import Path

import pytest

from stb_agents.custom.agent_code import AgentCode, code_of_distribution, code_of_folder, code_of_module
from stb_agents.custom.registry import choose_agent

AGENT = """
import words
from tools.weather import ask
def solve(task, tools):
    import late
    return words.ANSWER
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An agent in a file, with a module, a package, a late import, and files that it does not use."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "tools").mkdir()
    for name, text in {
        "agent.py": AGENT,
        "words.py": "ANSWER = 'sunny'",
        "late.py": "import later",
        "later.py": "",
        "unused.py": "",
        "tools/__init__.py": "",
        "tools/weather.py": "from . import places\nask = None",
        "tools/places.py": "",
    }.items():
        (tmp_path / name).write_text(text)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def code_of(folder: Path) -> AgentCode:
    return choose_agent(f"{folder / 'agent.py'}:solve", {}).code


def test_all_that_it_imports_below_its_folder_is_hashed(folder: Path) -> None:
    """Also within functions, and what these modules import; nothing else."""
    assert list(code_of(folder).files) == [
        "agent.py",
        "late.py",
        "later.py",
        "tools/__init__.py",
        "tools/places.py",
        "tools/weather.py",
        "words.py",
    ]


@pytest.mark.parametrize("changed", ["agent.py", "words.py", "later.py", "tools/places.py"])
def test_a_change_in_any_of_them_is_another_agent(folder: Path, changed: str) -> None:
    """And in no other file."""
    before = code_of(folder)
    (folder / "unused.py").write_text("X = 1")
    same = code_of_folder(folder, folder / "agent.py")
    (folder / changed).write_text((folder / changed).read_text() + "\n# changed")

    assert same.identity == before.identity
    assert code_of_folder(folder, folder / "agent.py").identity != before.identity
    assert [changed in line for line in before.changes()] == [True]


def test_a_file_alone_keeps_the_hash_that_it_had(tmp_path: Path) -> None:
    """So runs of earlier versions are continued."""
    file = tmp_path / "alone.py"
    file.write_text("import json\ndef solve(task, tools): return ''")

    assert choose_agent(f"{file}:solve", {}).code.identity == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_module_that_is_found_only_when_it_is_loaded_is_told(folder: Path) -> None:
    """Its name is computed while the agent works."""
    code = code_of(folder)
    assert code.changes() == []

    importlib.import_module("unused")

    (line,) = code.changes()
    assert line.startswith("NOT IN THE MANIFEST: the agent loaded unused.py only while it worked.")


def test_a_link_to_a_file_elsewhere_is_hashed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """By what it holds."""
    link = tmp_path_factory.mktemp("elsewhere") / "agent.py"
    link.symlink_to(folder / "words.py")

    assert list(code_of_folder(link.parent, link).files) == ["agent.py"]


def test_a_module_of_no_distribution_is_code_of_its_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a package as well."""
    monkeypatch.syspath_prepend(str(folder))

    code = code_of_module(importlib.import_module("tools.weather"))

    assert (code.label, list(code.files)) == (
        "",
        ["tools/__init__.py", "tools/places.py", "tools/weather.py"],
    )


def test_a_package_is_its_distribution_and_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version, another module and another file that was installed with it are another agent."""
    package, metadata = tmp_path / "stray_agent", tmp_path / "stray_agent-1.2.dist-info"
    for place in (package, metadata):
        place.mkdir()
    (package / "__init__.py").write_text("def solve(task, tools): return ''")
    (package / "prompt.txt").write_text("Be brief.")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stray-agent\nVersion: 1.2\n")
    (metadata / "top_level.txt").write_text("stray_agent\n")
    (metadata / "RECORD").write_text(
        "stray_agent/__init__.py,,\nstray_agent/prompt.txt,,\nstray_agent-1.2.dist-info/RECORD,,\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    first = choose_agent("stray_agent:solve", {}).code
    identities = {first.identity}
    for change in (package / "prompt.txt", package / "more.py"):
        change.write_text("changed")
        identities.add(
            code_of_distribution(importlib.metadata.distribution("stray-agent"), "stray_agent").identity
        )

    del sys.modules["stray_agent"]
    assert first.identity.startswith("stray-agent 1.2 ")
    assert list(first.files) == ["stray_agent/__init__.py", "stray_agent/prompt.txt"]
    assert len(identities) == 3
