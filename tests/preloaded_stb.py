"""``stb`` in processes that need not import it: a process that has, one per session of tests, is forked for each.

A new interpreter needs more than a second of processor time to import what a command needs. The child of a
fork is a process like any other: it has its own number, environment, folder and streams, and ends or is killed
by itself. It shares with the others only what an interpreter draws at its start: the seed of ``hash``.

A fresh interpreter is started for what Python reads when it starts (``PYTHON…``, the locale), while coverage
is measured, on systems other than Linux, and where a test asks for one.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import preloaded_process
from preloaded_process import LENGTH, NUMBER

_STB = (sys.executable, "-m", "stb_core.cli")
# What an interpreter and the libraries read when they start; the forked process was started without a change of it.
_READ_AT_START = ("PYTHON", "LC_", "LANG", "TZ", "LD_", "OPENBLAS_", "OMP_", "OPENAI_LOG")
_MEASURED = ("COVERAGE_PROCESS_", "COV_CORE_")
_STREAMS = {"stdin", "stdout", "stderr", "text"}


def start_stb(
    args: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    fresh: bool = False,
    **streams: Any,
) -> subprocess.Popen[Any]:
    """Start ``stb ARGS`` with exactly this environment; ``streams`` is as for ``subprocess.Popen``.

    ``fresh`` starts a new interpreter, for a test of what happens before ``main``.
    """
    usual = not fresh and _has_usual_start(env) and _STREAMS.issuperset(streams)
    kind = _Forked if usual else subprocess.Popen
    return kind([*_STB, *args], env=env, cwd=cwd, **streams)


def execute_stb(
    args: Sequence[str], *, env: Mapping[str, str], timeout: float = 300, **how: Any
) -> subprocess.CompletedProcess[Any]:
    """Run ``stb ARGS`` to its end and return what it said; see ``start_stb``."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
    with start_stb(args, env=env, **streams) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def close() -> None:
    """End the preloaded process, and with it all that it forked."""
    global _preloaded  # noqa: PLW0603
    if _preloaded is not None:
        _preloaded.close()
        _preloaded = None


def _has_usual_start(env: Mapping[str, str]) -> bool:
    if sys.platform != "linux" or any(name.startswith(_MEASURED) for name in {*env, *os.environ}):
        return False
    return _read_at_start(env) == _read_at_start(_environment())


def _read_at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_READ_AT_START)}


def _environment() -> dict[str, str]:
    """That of the preloaded process."""
    kept = ("STB_", "PYTHONDONTWRITEBYTECODE")
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(kept) and not name.endswith(("_API_KEY", "_BASE_URL"))
    }


class _Preloaded:
    """The process that is forked, as the tests see it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, preloaded_process.__file__, str(theirs.fileno())],
                # A library that starts threads when it is imported could not be forked with certainty.
                env={**_environment(), "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def fork(self, request: tuple[Any, ...], descriptors: Sequence[int]) -> int:
        """The number of a new process."""
        sent = pickle.dumps(request)
        with self._lock:
            socket.send_fds(self._socket, [LENGTH.pack(len(sent))], descriptors)
            self._socket.sendall(sent)
            number = self._socket.recv(NUMBER.size, socket.MSG_WAITALL)
        if not number:
            raise RuntimeError(f"The preloaded process ended with {self._process.wait()}.")
        return int(NUMBER.unpack(number)[0])

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


_preloaded: _Preloaded | None = None
_starting = threading.Lock()


class _Forked(subprocess.Popen[Any]):
    """A ``Popen`` whose process is forked from the preloaded one, which tells how it ended."""

    _status_pipe = -1

    def _execute_child(self, *given: Any) -> None:
        # As in subprocess: args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo,
        # creationflags, shell, then the six ends of the pipes.
        global _preloaded  # noqa: PLW0603
        args, cwd, env, ends = given[0], given[5], given[6], given[10:16]
        with _starting:
            _preloaded = _preloaded or _Preloaded()
        self._status_pipe, told = os.pipe()
        streams = [end if end != -1 else usual for usual, end in enumerate((ends[0], ends[3], ends[5]))]
        variables = {os.fsencode(name): os.fsencode(value) for name, value in env.items()}
        request = [os.fsencode(arg) for arg in args], os.fsencode(cwd or Path.cwd()), variables
        try:
            self.pid = _preloaded.fork(request, [*streams, told])
        except BaseException:
            os.close(self._status_pipe)
            raise
        finally:
            os.close(told)
            self._close_pipe_fds(*ends)
        self._child_created = True

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        """As ``os.waitpid``."""
        if wait_flags & os.WNOHANG and not _is_readable(self._status_pipe):
            return 0, 0
        status = os.read(self._status_pipe, NUMBER.size)
        os.close(self._status_pipe)
        return self.pid, NUMBER.unpack(status)[0] if status else signal.SIGKILL

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None and self._waitpid_lock.acquire(blocking=False):
            try:
                if self.returncode is None:
                    number, status = self._try_wait(os.WNOHANG)
                    if number:
                        self._handle_exitstatus(status)
            finally:
                self._waitpid_lock.release()
        return self.returncode


def _is_readable(descriptor: int) -> bool:
    ready = select.poll()
    ready.register(descriptor, select.POLLIN)
    return bool(ready.poll(0))
