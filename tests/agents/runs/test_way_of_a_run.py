"""The way of a run to its first trial is straight: no module of ``runs/`` is entered more than twice.

A module is *entered* when one of its functions is called and the function of this program that was called before it
is in another file. A call from one function to the next within a file is no entry; a helper that is called
after an excursion into other files is one, because whoever reads the code has to come back to that file. Not counted
are the return from a call, the resumption of a coroutine, a comprehension (it belongs to its function), generated code
(such as ``__init__`` of a dataclass), code that runs while a module is imported, and code of libraries.

The first trial begins when a worker of the runner takes it, in ``Runner._work``.
"""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from agent_world import put_world
from llm_server import LLMServer
from stb_agents.runs import run, runner
from stb_agents.runs.request import RunRequest
from stb_core.settings import Settings
from stb_core.store import Store

_RUNS = Path(run.__file__).parent
_TRIAL = runner.Runner._work.__code__
_MAX_ENTRIES = 2


class Way:
    """The files of this program that are entered, in order, until the first trial begins."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.has_trial = False
        self._frames: dict[int, FrameType] = {}  # keeps them, so that no other gets the same id

    def on_event(self, frame: FrameType, event: str, _: Any) -> None:
        """See ``sys.setprofile``."""
        code = frame.f_code
        is_ours = str(frame.f_globals.get("__name__", "")).startswith("stb_")
        is_written = not code.co_filename.startswith("<") and not code.co_name.startswith("<")
        is_function = is_written and code.co_flags & inspect.CO_OPTIMIZED  # no class body
        if event != "call" or self.has_trial or not is_ours or not is_function or id(frame) in self._frames:
            return
        self._frames[id(frame)] = frame
        self.has_trial = code is _TRIAL
        if not self.has_trial and self.files[-1:] != [code.co_filename]:
            self.files.append(code.co_filename)

    @property
    def entries(self) -> dict[str, int]:
        """Module of ``runs/`` → how often it was entered."""
        counts = Counter(Path(name) for name in self.files)
        return {file.stem: count for file, count in counts.items() if file.parent == _RUNS}


@contextmanager
def recorded() -> Iterator[Way]:
    """The way of what runs in the block."""
    way = Way()
    sys.setprofile(way.on_event)
    try:
        yield way
    finally:
        sys.setprofile(None)


@pytest.fixture
def settings(sqlite_store_url: str, llm: LLMServer) -> Settings:
    """Where the store is, a model, and its price."""
    prices = {"prices": {"stub/any": {"input": 1.0, "output": 1.0}}}
    return Settings(sqlite_store_url, prices, {"STUB_BASE_URL": llm.url})


@pytest.mark.parametrize(
    "request_",
    [
        RunRequest("scripted", "world"),
        RunRequest("scripted", "world:G1_instruction", tools="retrieved:2", limit=1, task_ids="1"),
        RunRequest("cot", "world", "stub/any", max_cost=100.0, agent_option=("turns=3",)),
    ],
    ids=["plain", "retrieved tools", "model with a limit on cost"],
)
async def test_no_module_is_entered_more_than_twice_before_the_first_trial(
    settings: Settings, world_url: str, request_: RunRequest
) -> None:
    """Of those that take part."""
    with recorded() as way:
        await run.run_agent(settings, replace(request_, server=world_url), quiet=True)

    assert way.has_trial
    assert {"run", "preparation", "request", "selection", "server", "manifest", "claim"} <= set(way.entries)
    assert {module: count for module, count in way.entries.items() if count > _MAX_ENTRIES} == {}


async def test_a_server_of_its_own_and_a_forecast_take_the_same_way(
    settings: Settings, sqlite_store: Store
) -> None:
    """A private server is started; a forecast enters only modules that a run enters, and its own."""
    await put_world(sqlite_store)
    request = RunRequest("scripted", "world:G3_instruction", limit=1)
    with recorded() as forecast:
        await run.forecast_run(settings, request)
    with recorded() as way:
        await run.run_agent(settings, request, quiet=True)

    assert max(forecast.entries.values()) <= _MAX_ENTRIES
    assert max(way.entries.values()) <= _MAX_ENTRIES
    assert set(forecast.entries) - set(way.entries) == {"forecast"}
