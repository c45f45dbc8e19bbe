"""A plain callable is an agent: it gets the task and the tools, and returns an answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from stb_agents.agent import Outcome, Task
from stb_agents.budget import Budget, BudgetSpent
from stb_agents.callables import CallableAgent, Tools, in_thread
from stb_agents.client import VirtualClient
from stb_agents.environment import Environment
from stb_core.trajectories import StopReason

from .world import QUERIES, environment_of

TASK = Task(QUERIES[0])


async def solve(
    solver: Callable[[Task, Tools], Any], client: VirtualClient, **options: Any
) -> tuple[Outcome, Environment]:
    environment = environment_of(client, **options)
    return await CallableAgent("own", solver).solve(TASK, environment), environment


def blocking(task: Task, tools: Tools) -> str:
    return f"{task.query.query_id}: {tools['current_for_sky_watch'](city='Velmora')}"


async def asynchronous(task: Task, tools: Tools) -> str:
    return f"{task.query.query_id}: {await tools['current_for_sky_watch'](city='Velmora')}"


@pytest.mark.parametrize("solver", [blocking, asynchronous])
async def test_it_calls_tools_and_returns_an_answer(client: VirtualClient, solver: Any) -> None:
    """A tool takes keywords and returns what a model would be shown; the trajectory ends with Finish."""
    outcome, environment = await solve(solver, client)

    seen = '{"error": "", "response": {"city": "Velmora", "degrees": 10}}'
    assert (outcome.stop, outcome.final_answer) == (StopReason.ANSWERED, f"0: {seen}")
    assert [step.function for step in environment.steps] == ["current_for_sky_watch", "Finish"]


async def test_a_blocking_one_does_not_hold_up_the_others(client: VirtualClient) -> None:
    """It runs in a thread of its own."""
    threads = []

    await solve(lambda *_: threads.append(threading.current_thread()), client)

    assert threads[0] is not threading.main_thread()
    assert threads[0].daemon


@pytest.mark.parametrize(
    ("answer", "stop", "text"),
    [
        ("42", StopReason.ANSWERED, "42"),
        ({"a": [1, "ü"]}, StopReason.ANSWERED, '{"a": [1, "ü"]}'),
        (0, StopReason.ANSWERED, "0"),
        (None, StopReason.GAVE_UP, ""),
        ("", StopReason.GAVE_UP, ""),
    ],
)
async def test_an_answer_is_text_or_json_or_none(
    client: VirtualClient, answer: Any, stop: StopReason, text: str
) -> None:
    """None, and empty text, give up."""
    outcome, _ = await solve(lambda *_: answer, client)

    assert (outcome.stop, outcome.final_answer) == (stop, text)


async def test_tools_can_be_looked_at(client: VirtualClient) -> None:
    """In order, by name, as schemas for a model; and called as a model would have written it."""
    seen: dict[str, Any] = {}

    def look(_: Task, tools: Tools) -> None:
        seen["names"] = [tool.name for tool in tools]
        seen["first"] = tools.schemas[0]
        seen["there"] = ("search_for_inns" in tools, "teleport" in tools, len(tools))
        seen["told"] = tools.call("teleport", "{}")

    await solve(look, client)

    assert seen["names"] == ["current_for_sky_watch", "forecast_for_sky_watch", "search_for_inns"]
    assert seen["first"]["function"]["parameters"]["required"] == ["city"]
    assert seen["there"] == (True, False, 3)
    assert "There is no function 'teleport'" in seen["told"]


@pytest.mark.parametrize("solver", [blocking, asynchronous])
async def test_its_budget_ends_it(client: VirtualClient, solver: Any) -> None:
    """In the middle of what it does."""
    with pytest.raises(BudgetSpent):
        await solve(solver, client, budget=Budget(max_tool_calls=0))


async def test_its_own_error_is_passed_on(client: VirtualClient) -> None:
    """For the runner to record."""

    def fail(*_: Any) -> None:
        raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        await solve(fail, client)


async def test_a_thread_hands_back_its_result() -> None:
    """The value, to whoever waits."""
    assert await in_thread(lambda: 42) == 42
