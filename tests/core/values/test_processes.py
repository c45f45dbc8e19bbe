"""A mark names one process, and tells on the same machine whether it is still there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stb_core.values import processes


@pytest.fixture
def dead() -> str:
    """The mark of a process on this machine that has ended."""
    code = "from stb_core.values import processes; print(processes.make_mark())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_mark_tells_whether_its_process_is_there(dead: str) -> None:
    """Ours is, one that ended is not; of what is no mark nothing is known."""
    ours, ended = processes.read_mark(processes.make_mark()), processes.read_mark(dead)

    assert ours
    assert ended
    assert (ours.pid, ours.is_here, ours.is_gone) == (os.getpid(), True, False)
    assert (ended.is_here, ended.is_gone) == (True, True)
    assert processes.read_mark("0123456789abcdef") is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell")
def test_a_process_that_has_the_number_of_another_is_not_the_other() -> None:
    """What counts is when it began, too."""
    ours = processes.read_mark(processes.make_mark())

    assert ours
    assert processes.Holder(ours.machine, ours.pid, ours.started + 1).is_gone


def test_a_killed_process_is_gone_before_its_parent_looks() -> None:
    """A zombie does nothing any more."""
    code = "from stb_core.values import processes; print(processes.make_mark(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        holder = processes.read_mark(process.stdout.readline().strip())
        assert holder
        assert not holder.is_gone
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

        assert holder.is_gone
