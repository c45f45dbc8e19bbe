"""A command starts quickly: what only some commands need is loaded by those alone."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from types import SimpleNamespace

import click
import pytest

from stb_core.cli import program as cli
from stb_core.cli.program import Commands
from stb_server.commands.cache import command as cache_group

SLOW = ("openai", "scipy.stats", "scipy.sparse", "fastapi", "mcp")


def entry(name: str, value: str) -> importlib.metadata.EntryPoint:
    return importlib.metadata.EntryPoint(name, value, cli.ENTRY_POINTS)


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

    assert "" == loaded_by(program, (*SLOW, "sqlalchemy", "numpy", "stb_evaluator.scores.comparison"))


def test_a_name_that_is_near_is_suggested() -> None:
    """Among all commands, imported or not."""
    stb = Commands("stb")
    stb.add_entry(entry("score", "a_module_that_is_not_there:command"))

    with pytest.raises(click.UsageError) as refused:
        stb.main(["scor"], standalone_mode=False)

    assert "No such command 'scor'. Did you mean 'score'?" == refused.value.format_message()


def test_the_help_lists_commands_by_what_they_are_for() -> None:
    """Each of ours once and in a section; one of others under Other. A group lists its members in one."""
    stb = Commands("stb")
    ours = {
        one.name for one in importlib.metadata.entry_points(group=cli.ENTRY_POINTS) if "." not in one.name
    }
    for name in (*ours, "theirs"):
        stb.add_entry(entry(name, "a_module_that_is_not_there:command"))

    text = stb.get_help(click.Context(stb))
    sections = re.split(r"^(\w+):$", text, flags=re.MULTILINE)[1:]
    listed = dict(
        zip(
            sections[::2],
            (re.findall(r"^  (\S+)", part, re.MULTILINE) for part in sections[1::2]),
            strict=True,
        )
    )
    group = Commands("group")
    group.add_entry(entry("run", "a_module_that_is_not_there:command"))
    nested = group.get_help(click.Context(group, parent=click.Context(stb)))

    assert ["theirs"] == listed.pop("Other")
    assert sorted(ours) == sorted(
        name for title, names in listed.items() if title != "Options" for name in names
    )
    assert listed["Evaluate"][0] == "run"
    assert "Commands:\n  run" in nested


def test_others_add_to_groups_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be loaded is named, and the rest works."""
    ours = Commands("stb")
    monkeypatch.setattr(cli, "stb", ours)
    monkeypatch.setattr(cache_group, "commands", dict(cache_group.commands))
    theirs = SimpleNamespace(
        name="cache.frob",
        dist=SimpleNamespace(name="theirs"),
        load=lambda: click.Command("frob"),
    )
    broken = SimpleNamespace(name="cache.burst", dist=SimpleNamespace(name="broken"), load=lambda: 1 / 0)
    entries = [theirs, broken, *importlib.metadata.entry_points(group=cli.ENTRY_POINTS)]
    monkeypatch.setattr(cli.importlib.metadata, "entry_points", lambda **_: entries)

    cache = cli.find_commands().get_command(click.Context(ours), "cache")

    assert isinstance(cache, click.Group)
    assert {"frob", "pin", "dump"} <= cache.commands.keys()
    assert (
        "stb: the command 'cache.burst' of broken cannot be loaded (ZeroDivisionError: division by zero).\n"
        == capsys.readouterr().err
    )


def test_a_module_is_imported_for_its_command() -> None:
    """A command is listed with its short help before it is imported, and is loaded only once."""
    stb = Commands("stb")
    stb.add_entry(entry("ls", "stb_evaluator.commands.ls:command"))
    stb.add_entry(entry("other", "a_module_that_is_not_there:command"))
    context = click.Context(stb)

    listed = stb.list_commands(context)
    text = stb.get_help(context)
    ls, again = stb.get_command(context, "ls"), stb.get_command(context, "ls")

    assert (["ls", "other"], True) == (listed, ls is again is not None)
    assert "List the runs of the store." in text
    assert ["ls"] == sorted(stb.commands)
    assert stb.get_command(context, "nothing") is None
