"""The end of a command that is told to stop: what it has opened is closed, and what it holds is given back."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from stb_core.cli import console

_TERMINATED = 128 + signal.SIGTERM
_STOPPED = "stb: stopped. What was finished is kept; run the same command again to continue."


@contextmanager
def stopped_by_sigterm() -> Generator[None]:
    """Let SIGTERM cancel the work of the block, and end the command with a line that says that it can go on.

    What the work has opened is closed, and no process that it started is left behind.
    """
    task = asyncio.current_task()
    assert task is not None
    is_stopped = False

    def stop() -> None:
        nonlocal is_stopped
        is_stopped = True
        task.cancel()

    try:
        with _at_sigterm(stop):
            yield
    except asyncio.CancelledError:
        if not is_stopped:
            raise
        task.uncancel()
        console.print_note(_STOPPED)
        raise SystemExit(_TERMINATED) from None


@contextmanager
def _at_sigterm(stop: Callable[[], None]) -> Generator[None]:
    """Call ``stop`` at the first SIGTERM, where nobody else waits for one; a second one ends the process."""
    loop = asyncio.get_running_loop()
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def stop_once() -> None:
        loop.remove_signal_handler(signal.SIGTERM)
        stop()

    try:
        loop.add_signal_handler(signal.SIGTERM, stop_once)
    except NotImplementedError:  # as on Windows, where there is no SIGTERM to wait for
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
