"""Every command that writes a file writes it whole or not at all: on a full disk what was there stays."""

from __future__ import annotations

import ast
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from command_line import Ended, in_process
from evaluator_makers import make_run, on_store, trajectory
from stb_core.cli.program import find_commands
from stb_core.store import Store
from stb_experiments.output import Result, write_result
from virtual_server import put_weather, recorded

__all__ = ["in_process"]

REPOSITORY = Path(__file__).parent.parent
PACKAGES = ("core", "server", "agents", "evaluator")

# Every option that names a file or folder to write, and how it is tried: arguments, with the place at the end.
COMMANDS = {
    "cache dump --output": ("cache dump weather -o", "old.jsonl.zst"),
    "export --output": ("export r --force -o", "old.zip"),
    "lock --output": ("lock r -o", "old.lock.json"),
    "report --output": ("report r --judge rules --force -o", "old.html"),
    "report --site": ("report r --force --site", "old-site"),
    "backup FILE": ("backup", "new.db"),
}
FURTHER = {
    "cache dump --output (official)": ("cache dump weather --format official -o", "new-official"),
    "export --output (toolbench)": ("export r --format toolbench --force -o", "toolbench"),
    "export --output (messages)": ("export r --format openai-messages --force -o", "old.jsonl"),
    "report --output (csv)": ("report r --judge rules --force -o", "old.csv"),
}
# They need models or benches; what they write goes through the functions that are tried below.
ELSEWHERE = {
    "solvable --output": "write_files",
    **{
        f"experiment {name} --output": "write_result"
        for name in ("cache", "failures", "judge", "order", "reproduce", "retrieval", "variance")
    },
    "experiment simulator --output": "write_files",
}
# Calls that write to disk past ``stb_core.files``, and why that is right.
ALLOWED = {
    "core/stb_core/files/writing.py": "it is what writes",
    "core/stb_core/cli/subcommands.py": "a temporary log",
    "core/stb_core/store/backups.py": "it reads for fsync; the file itself is SQLite's",
    "server/stb_server/worker/metrics.py": "numbers of workers, in a temporary folder",
    "server/stb_server/inspector/static_site.py": "into a folder of whole_folder",
    "server/stb_server/datasets/official_layout.py": "into a folder of whole_folder",
    "evaluator/stb_experiments/failures.py": "a temporary folder",
}


def outputs(group: click.Group, names: tuple[str, ...] = ()) -> Iterator[str]:
    """All options of all commands that name something to write."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from outputs(command, (*names, name))
            continue
        assert command is not None
        for parameter in command.params:
            is_output = {"output", "out", "site"}.intersection((parameter.name or "",)) and isinstance(
                parameter.type, click.Path
            )
            if is_output:
                yield f"{' '.join((*names, name))} --{parameter.name}"


def test_every_output_is_tried() -> None:
    """A new option of that kind is missing here until it is."""
    known = {name for name in COMMANDS if "FILE" not in name} | ELSEWHERE.keys()

    assert known == set(outputs(find_commands()))


def test_nothing_else_writes_files() -> None:
    """Whatever writes a file goes through ``stb_core.files``, or is listed with its reason."""
    found = set()
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.Call) and _writes(node):
                    found.add(path.relative_to(REPOSITORY).as_posix())

    assert found <= ALLOWED.keys(), found - ALLOWED.keys()


def _writes(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    modes = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    opened = name == "open" and any(
        isinstance(mode, str) and set(mode) & set("wax") and len(mode) < 4 for mode in modes
    )
    return name in {"write_bytes", "write_text"} or opened


@pytest.fixture(name="filled")
def _filled(in_process, sqlite_store_url: str) -> None:
    """A run ``r`` that is scored, and a dataset ``weather``."""

    async def make(store: Store) -> None:
        await put_weather(store, recorded({"city": "Bonn"}))
        await make_run(store, [trajectory("1"), trajectory("2")])

    on_store(sqlite_store_url, make)
    assert in_process("score", "r", "--judge", "rules").code == 0


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder but those of the store."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("store.db")
    }


@pytest.mark.usefixtures("filled")
def test_a_full_disk_leaves_the_old_file(in_process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command says so in a line and ends with 1 or 2; afterwards every file is what it was."""
    commands = {**COMMANDS, **FURTHER}
    for line, place in commands.values():
        first: Ended = in_process(*line.split(), place)
        assert first.code == 0, first.err
    before = tree(tmp_path)
    on_store(f"sqlite:///{tmp_path / 'store.db'}", _more_of_everything)
    real = os.fsync

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name, (line, place) in commands.items():
        monkeypatch.setattr(os, "fsync", fail)
        ended: Ended = in_process(*line.split(), place.replace("new", "newer"))
        monkeypatch.setattr(os, "fsync", real)
        assert ended.code in {1, 2}, name
        assert len(ended.err.splitlines()) == 1, (name, ended.err)
        assert before == tree(tmp_path), name


async def _more_of_everything(store: Store) -> None:
    """What would be written is other than what is there."""
    dataset = await store.datasets.get("weather")
    await store.responses.keep(dataset.id, [recorded({"city": "Rome"})])
    await store.runs.put_queries("r", [])


def test_a_full_disk_leaves_the_old_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an experiment."""
    result = Result("x", "X", [{"a": 1}], {"": ("a",)}, {}, passed=True, says=(), limits=())
    write_result(result, tmp_path / "out")
    before = tree(tmp_path)

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    other: dict[str, Any] = {"rows": [{"a": 2}]}
    with pytest.raises(Exception, match="No space left on device"):
        write_result(
            Result("x", "Y", other["rows"], {"": ("a",)}, {}, passed=True, says=(), limits=()),
            tmp_path / "out",
        )

    assert before == tree(tmp_path)


def test_no_cell_of_a_result_is_a_formula(tmp_path: Path) -> None:
    """Names of runs and agents come from others."""
    write_result(
        Result(
            "x", "X", [{"a": '=HYPERLINK("x")', "b": -1}], {"": ("a",)}, {}, passed=True, says=(), limits=()
        ),
        tmp_path / "out",
    )

    assert (tmp_path / "out" / "rows.csv").read_text() == 'a,b\n"\'=HYPERLINK(""x"")",-1\n'
