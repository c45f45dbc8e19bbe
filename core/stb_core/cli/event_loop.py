"""The event loop of commands: the fastest that is installed, with little in its way."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# A write to the store is done in a thread, which asks for the interpreter a few times; while the loop is
# busy it gets it after this time, and by default after ten times as long.
_SWITCH_INTERVAL_S = 0.0005
# Objects made before the collector looks for cycles, and how often it checks older ones. By default that
# is a seventh of a run's time, with everything at a halt for up to 0.2 s.
_COLLECT_AFTER = 10_000, 20, 20


def run(work: Coroutine[Any, Any, T]) -> T:
    """As ``asyncio.run``, for the one coroutine that a process is there for."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.set_threshold(*_COLLECT_AFTER)
    with asyncio.Runner(loop_factory=_fastest()) as runner:
        return runner.run(work)


def _fastest() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop, where there is one for this system; else what Python has."""
    try:
        import uvloop  # noqa: PLC0415
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop
