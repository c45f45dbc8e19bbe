"""The process of ``preloaded_stb``, which has imported ``stb`` and is forked for each command.

    python preloaded_process.py DESCRIPTOR

It takes requests from a socket, which it has as that descriptor, and ends when nobody holds the other end.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import io
import os
import pickle
import pkgutil
import runpy
import select
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

LENGTH = struct.Struct("=Q")
"""What a request begins with: its size. With it come the descriptors of three streams and of a pipe."""
NUMBER = struct.Struct("=i")
"""The reply, which is the number of the process; and what the pipe says when that has ended, as ``os.waitpid``."""
# What commands import only when they use it, where it is installed.
_LATE = ("uvloop", "aiosqlite", "asyncpg", "redis", "encodings.idna", "rich._emoji_codes")
_PR_SET_PDEATHSIG = 1


def _serve(requests: socket.socket) -> None:
    """Fork a child for each request, and tell how it ended, until nobody is there to ask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tests, which end this process
    _import_all()
    libc = ctypes.CDLL(None)
    gc.collect()
    gc.freeze()
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "an import has started a thread"

    told: dict[int, tuple[int, int]] = {}  # by the descriptor of a child: its number, and whom to tell
    ready = select.poll()
    ready.register(requests, select.POLLIN)
    while True:
        for descriptor, _ in ready.poll():
            if descriptor in told:
                ready.unregister(descriptor)
                number, pipe = told.pop(descriptor)
                _tell(pipe, os.waitpid(number, 0)[1])
                os.close(descriptor)
                continue
            start, descriptors, _, _ = socket.recv_fds(requests, LENGTH.size, 4, socket.MSG_WAITALL)
            if not start:
                return
            asked = pickle.loads(_read(requests, LENGTH.unpack(start)[0]))
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            begun, begins = os.pipe()
            number = os.fork()
            if not number:
                libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                os.write(begins, b"1")  # from here on it does not outlive its parent
                _run(*asked, descriptors[:3], mask)
            os.close(begins)
            os.read(begun, 1)
            os.close(begun)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            child = os.pidfd_open(number)
            ready.register(child, select.POLLIN)
            told[child] = number, descriptors[3]
            for stream in descriptors[:3]:
                os.close(stream)
            requests.sendall(NUMBER.pack(number))


def _import_all() -> None:
    """Import what any command imports."""
    import stb_agents  # noqa: PLC0415
    import stb_core  # noqa: PLC0415
    import stb_evaluator  # noqa: PLC0415
    import stb_experiments  # noqa: PLC0415
    import stb_server  # noqa: PLC0415

    for room in (stb_core, stb_server, stb_agents, stb_evaluator, stb_experiments):
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    for name in _LATE:
        with suppress(ModuleNotFoundError):
            importlib.import_module(name)


def _read(requests: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += requests.recv(size - len(found))
    return found


def _tell(pipe: int, status: int) -> None:
    with suppress(BrokenPipeError):  # nobody has asked, and nobody can
        os.write(pipe, NUMBER.pack(status))
    os.close(pipe)


def _run(
    command: list[bytes],
    folder: bytes,
    env: dict[bytes, bytes],
    streams: list[int],
    mask: set[signal.Signals],
) -> NoReturn:
    """Become ``python -m MODULE ARGS`` in a new process, from its start to its end."""
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)  # all are above 2, which were open
        os.closerange(3, 1 << 20)
        os.chdir(folder)
        os.environb.clear()
        os.environb.update(env)
        _open_streams()
        program, option, module, *args = map(os.fsdecode, command)
        sys.orig_argv[:] = [program, option, module, *args]
        sys.argv[:] = [module, *args]
        sys.path[0] = os.fsdecode(folder)
        if "multiprocessing.process" in sys.modules:
            sys.modules["multiprocessing.process"].ORIGINAL_DIR = os.fsdecode(folder)
        code = _end_of(module, mask)
    finally:
        os._exit(code)


def _open_streams() -> None:
    """New objects for the standard streams, made as an interpreter makes them."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        before = getattr(sys, name)
        unbuffered = bool(number) and before.write_through
        opened = io.TextIOWrapper(
            open(number, "wb" if number else "rb", 0 if unbuffered else -1, closefd=False),  # noqa: SIM115
            encoding=before.encoding,
            errors=before.errors,
            newline="\n",
            line_buffering=not unbuffered and (name == "stderr" or os.isatty(number)),
            write_through=unbuffered,
        )
        setattr(sys, name, opened)
        setattr(sys, f"__{name}__", opened)


def _end_of(module: str, mask: set[signal.Signals]) -> int:
    """Run a module as a program; the exit code that an interpreter would give."""
    code, interrupted = 0, False
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = _exit_code(ended.code)
    except BaseException as problem:  # noqa: BLE001 - as an interpreter does
        sys.excepthook(type(problem), problem, problem.__traceback__)
        code, interrupted = 1, isinstance(problem, KeyboardInterrupt)
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = 120
    if interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return code


def _exit_code(code: object) -> int:
    if code is None or isinstance(code, int):
        return (code or 0) & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as found:
        _serve(found)
