"""The command line has one manner: settings, JSON, one-line errors and exit codes."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import click
import pytest

from stb_core.cli import program as cli
from stb_core.errors import NotFoundError, StbError
from stb_core.telemetry import logs


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> click.Group:
    """The command tree with one command of our own: ``stb probe [--times N]``."""
    monkeypatch.chdir(tmp_path)
    tree = click.Group("stb", params=cli.stb.params, callback=cli.stb.callback)
    monkeypatch.setattr(cli, "stb", tree)
    monkeypatch.setattr(cli.importlib.metadata, "entry_points", lambda **_: [])

    @cli.stb_command("probe")
    @click.option("--times", type=int, default=1, help="How often.")
    @click.option("--fail", type=int, default=0)
    async def probe(times: int, fail: int, as_json: bool) -> None:
        await asyncio.sleep(0)
        if fail == 1:
            raise StbError("It broke.", hint="Mend it.")
        if fail == 2:
            raise NotFoundError("There is no such thing.")
        if fail == 3:
            cli.exit_with(1)
        click.echo(json.dumps({"times": times, "as_json": as_json}))

    tree.add_command(probe)
    return tree


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(args))
    code = ended.value.code
    assert isinstance(code, int)
    return code


@pytest.mark.usefixtures("program")
def test_a_command_succeeds_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    """Its result stands on stdout, and ``--json`` is known everywhere."""
    code = run("probe", "--times", "3", "--json")

    assert 0 == code
    assert {"times": 3, "as_json": True} == json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize(
    ("fail", "code", "line"),
    [(1, 1, "stb: It broke. Mend it.\n"), (2, 2, "stb: There is no such thing.\n"), (3, 1, "")],
)
def test_an_error_is_one_line_and_an_exit_code(
    fail: int, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """1 for work that is not complete, 2 for bad usage."""
    assert code == run("probe", "--fail", str(fail))
    assert line == capsys.readouterr().err


@pytest.mark.usefixtures("program")
def test_every_flag_has_an_environment_twin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``STB_TIMES`` sets ``--times``, the flag beats it, and the help says so."""
    monkeypatch.setenv("STB_TIMES", "7")

    run("probe")
    run("probe", "--times", "8")
    run("probe", "--help")

    first, second, usage = capsys.readouterr().out.split("\n", maxsplit=2)
    assert (7, 8) == (json.loads(first)["times"], json.loads(second)["times"])
    assert "STB_TIMES" in usage


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize("args", [["nothing"], ["probe", "--nothing"], ["probe", "--times", "x"]])
def test_bad_usage_ends_with_2(args: list[str]) -> None:
    """An unknown command, flag or value."""
    assert 2 == run(*args)


def test_a_log_line_is_json_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    """Fields stand beside the event; credentials are masked by name and by look."""
    logs.configure("info")
    fields: dict[str, Any] = {"toolbench_key": "abc", "url": "https://me:pw@host/x", "count": 3}

    logging.getLogger("t").info("called with sk-0123456789abcdef", extra=fields)

    line = json.loads(capsys.readouterr().err)
    assert ("called with ***", "***", "https***host/x", 3) == tuple(
        line[name] for name in ("event", "toolbench_key", "url", "count")
    )


def test_a_library_that_wants_to_be_heard_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    """The level holds, whatever level a logger gives itself."""
    logs.configure("warning")
    logger = logging.getLogger("t.loud")
    logger.setLevel("DEBUG")

    logger.debug("here I am")

    assert "" == capsys.readouterr().err


def test_an_unknown_log_level_is_refused() -> None:
    """The error names those that exist."""
    with pytest.raises(StbError, match="debug, info, warning or error"):
        logs.configure("loud")
