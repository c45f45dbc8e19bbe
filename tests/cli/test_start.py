"""A command starts quickly: what only some commands need is loaded by those alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import click
import pytest

from stb_core import cli
from stb_core.cli import Commands

SLOW = ("openai", "scipy.stats", "scipy.sparse", "fastapi", "mcp")


def loaded_by(program: str, modules: tuple[str, ...]) -> str:
    """Which of the modules a new interpreter has after the program."""
    told = f"\nimport sys; print(*sorted({set(modules)} & sys.modules.keys()), file=sys.stderr)"
    command = [sys.executable, "-c", program + told]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr.strip()


def test_the_command_tree_loads_nothing_slow() -> None:
    """All commands and flags are known without the model client, the statistics or the web framework."""
    assert "" == loaded_by("from stb_core.cli import load_commands; load_commands()", SLOW)


@pytest.mark.parametrize("command", ["run", "serve", "demo"])
def test_a_command_loads_no_other(command: str) -> None:
    """The flags of one command are known without the store and the modules of other commands."""
    program = f"from stb_core.cli import find_commands; find_commands()(['{command}', '--help'], standalone_mode=False)"

    assert "" == loaded_by(program, (*SLOW, "sqlalchemy", "numpy", "stb_evaluator.comparing"))


def test_a_name_that_is_near_is_suggested() -> None:
    """Among all commands, imported or not."""
    stb = Commands("stb")
    stb.defer("a_module_that_is_not_there", "score")

    with pytest.raises(click.UsageError) as refused:
        stb.main(["scor"], standalone_mode=False)

    assert "No such command 'scor'. Did you mean 'score'?" == refused.value.format_message()


def test_others_add_to_groups_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the group's own module is imported; what cannot be loaded is named, and the rest works."""
    ours = Commands("stb")
    monkeypatch.setattr(cli, "stb", ours)

    def add(stb: Commands) -> None:
        cli.command(cli.group(stb, "cache", "theirs"), "frob")(lambda **_: None)
        stb.defer("stb_server.cache_commands", "cache")

    def break_down(_: Commands) -> None:
        raise ImportError("no such module")

    def entry(name: str, function: Callable[[Commands], None]) -> SimpleNamespace:
        return SimpleNamespace(name=name, dist=SimpleNamespace(name=name), load=lambda: function)

    entries = [entry("theirs", add), entry("broken", break_down)]
    monkeypatch.setattr(cli.importlib.metadata, "entry_points", lambda **_: entries)

    cache = cli.find_commands().get_command(click.Context(ours), "cache")

    assert isinstance(cache, click.Group)
    assert {"frob", "pin", "dump"} <= cache.commands.keys()
    assert (
        "stb: the commands of broken cannot be loaded (ImportError: no such module).\n"
        == capsys.readouterr().err
    )


def test_a_module_is_imported_for_its_commands() -> None:
    """A deferred command is listed, imported when it is asked for, and its module asked only once."""
    stb = Commands("stb")
    stb.defer("stb_evaluator.commands.showing", "ls", "show", "rm")
    stb.defer("a_module_that_is_not_there", "other")
    context = click.Context(stb)

    listed = stb.list_commands(context)
    ls, again = stb.get_command(context, "ls"), stb.get_command(context, "ls")

    assert (["ls", "other", "rm", "show"], True) == (listed, ls is again is not None)
    assert ["ls", "rm", "show"] == sorted(stb.commands)
    assert stb.get_command(context, "nothing") is None
