"""A forked ``stb`` is as good as one of a fresh interpreter, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from conftest import clean_environment
from preloaded_stb import execute_stb, start_stb
from stb_processes import wait_for

pytestmark = pytest.mark.linux

TESTS = Path(__file__).parent
FORKED = b"preloaded_process.py"


def command_line(number: int) -> bytes:
    """How a process was started; nothing once it is gone."""
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return b""


# The documentation, whose examples are executed, has the others.
COMMANDS = ["rm nothing", "solvable nothing", "experiment judge nothing"]


@pytest.mark.parametrize("command", ["--version", "nonsense", "ls --json", "show nothing", *COMMANDS])
def test_both_say_the_same(command: str, tmp_path: Path) -> None:
    """On stdout, on stderr and by the exit code."""
    env = clean_environment(STB_DATABASE_URL=f"sqlite:///{tmp_path}/store.db")
    said = [
        execute_stb(command.split(), env=env, cwd=tmp_path, fresh=fresh, text=True) for fresh in (False, True)
    ]

    assert said[0].stdout == said[1].stdout
    assert said[0].stderr == said[1].stderr
    assert said[0].returncode == said[1].returncode


@pytest.mark.parametrize(
    ("variables", "forked"), [({}, True), ({"PYTHONHASHSEED": "3"}, False), ({"LC_ALL": "C"}, False)]
)
def test_what_python_reads_at_its_start_needs_a_fresh_interpreter(
    tmp_path: Path, variables: Mapping[str, str], forked: bool
) -> None:
    """A changed locale, or a variable of Python, is not for a process that has started."""
    env = clean_environment(STB_DATABASE_URL=f"sqlite:///{tmp_path}/store.db", **variables)
    with start_stb(["demo", str(tmp_path / "d")], env=env, stdout=subprocess.PIPE) as process:
        found = command_line(process.pid)
        process.kill()

    assert forked == (FORKED in found)


def test_it_has_exactly_the_environment_and_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the tests' process has set is not there unless it is handed on."""
    folder = tmp_path / "ü"
    folder.mkdir()
    monkeypatch.setenv("STB_LOG_LEVEL", "nonsense")
    (folder / "stb.toml").write_text('database_url = "sqlite:///mine.db"\n')

    done = execute_stb(["ls"], env=clean_environment(), cwd=folder, text=True)

    assert (0, True) == (done.returncode, (folder / "mine.db").is_file())
    assert "There are no runs yet" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_signal_reaches_the_process_itself(tmp_path: Path, number: signal.Signals) -> None:
    """Its end is told as of any child, and its number is free again."""
    env = clean_environment(STB_DATABASE_URL=f"sqlite:///{tmp_path}/store.db")
    with start_stb(["demo", str(tmp_path / "d")], env=env, stdout=-3, stderr=-3) as process:
        assert process.poll() is None
        process.send_signal(number)
        code = process.wait(60)

    assert -number == code
    assert b"" == command_line(process.pid)


def test_nothing_outlives_the_tests(tmp_path: Path) -> None:
    """The forked process ends with the one that it comes from, even where that one's user is killed."""
    program = f"""if True:
        import os, sys, time
        sys.path.insert(0, {str(TESTS)!r})
        from conftest import clean_environment
        import preloaded_stb
        env = clean_environment(STB_DATABASE_URL="sqlite:///{tmp_path}/store.db")
        process = preloaded_stb.start_stb(["demo", "d"], env=env, cwd=None, stdout=-3, stderr=-3)
        os.kill(process.pid, 19)
        print(process.pid, preloaded_stb._preloaded._process.pid, flush=True)
        time.sleep(600)
    """
    with subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE) as user:
        assert user.stdout
        numbers = [int(number) for number in user.stdout.readline().split()]
        there = [FORKED in command_line(number) for number in numbers]
        user.kill()

    assert [True, True] == there
    asyncio.run(wait_for(lambda: not any(FORKED in command_line(number) for number in numbers)))
