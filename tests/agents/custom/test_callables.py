"""A plain callable is an agent: it gets the task and the tools, and returns an answer."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from agent_world import QUERIES, environment_of
from stb_agents.custom.callables import CallableAgent, Tools, in_thread
from stb_agents.environment.agent import Outcome, Task
from stb_agents.environment.budget import Budget, BudgetSpent
from stb_agents.environment.environment import Environment
from stb_agents.environment.server_client import VirtualClient
from stb_core.errors import CallError, FormatError
from stb_core.values.trajectories import StopReason

TASK = Task(QUERIES[0])


async def solve(
    solver: Callable[[Task, Tools], Any], client: VirtualClient, **options: Any
) -> tuple[Outcome, Environment]:
    environment = environment_of(client, **options)
    async with asyncio.timeout(120):
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


def generating(*_: Any) -> Any:
    yield "never asked for"


async def generating_asynchronously(*_: Any) -> Any:
    yield "never asked for"


@pytest.mark.parametrize(
    ("solver", "told"),
    [
        (generating, "can hold: Object of type generator "),
        (generating_asynchronously, "can hold: Object of type async_generator "),
        (lambda *_: {1, 2}, "can hold: Object of type set "),
        (lambda *_: {"seen": {1, 2}}, "can hold: Object of type set "),
        (lambda *_: float("nan"), "can hold: Out of range float values"),
        (lambda *_: b"ten", "can hold: Object of type bytes "),
    ],
)
async def test_what_json_cannot_hold_is_no_answer(client: VirtualClient, solver: Any, told: str) -> None:
    """How Python would print it is none either; nothing is handed in."""
    environment = environment_of(client)

    with pytest.raises(FormatError, match=told):
        await CallableAgent("own", solver).solve(TASK, environment)

    assert [] == environment.steps


ANSWER = '{"return_type": "give_answer", "final_answer": "hello"}'
GIVE_UP = '{"return_type": "give_up_and_restart"}'


def finishing(arguments: str, *, after: Callable[[Tools], Any]) -> Callable[[Task, Tools], Any]:
    """An agent that calls Finish as a model would have written it, and then does something."""

    def solve(_: Task, tools: Tools) -> Any:
        tools.call("current_for_sky_watch", '{"city": "Velmora"}')
        tools.call("Finish", arguments)
        return after(tools)

    return solve


@pytest.mark.parametrize(
    "after",
    [
        lambda _: "something else",
        lambda _: None,
        lambda tools: tools["current_for_sky_watch"](city="Velmora"),
        lambda _: sys.exit(1),
    ],
)
@pytest.mark.parametrize(
    ("arguments", "stop", "text"),
    [(ANSWER, StopReason.ANSWERED, "hello"), (GIVE_UP, StopReason.GAVE_UP, "")],
)
async def test_finish_ends_it(
    client: VirtualClient, arguments: str, stop: StopReason, text: str, after: Any
) -> None:
    """Whatever it returns or does after that: what was handed in stands, and no call follows."""
    outcome, environment = await solve(finishing(arguments, after=after), client)

    assert (stop, text) == (outcome.stop, outcome.final_answer)
    assert ["current_for_sky_watch", "Finish"] == [step.function for step in environment.steps]


async def test_a_call_behind_finish_is_refused(client: VirtualClient) -> None:
    """So that a loop that does not know Finish comes to its end."""

    async def solver(_: Task, tools: Tools) -> None:
        await tools.call("Finish", ANSWER)
        with pytest.raises(CallError, match="no call can follow"):
            await tools["current_for_sky_watch"](city="Velmora")

    outcome, _ = await solve(solver, client)

    assert StopReason.ANSWERED is outcome.stop


async def test_a_finish_that_means_nothing_is_told(client: VirtualClient) -> None:
    """As a model would be, and the agent goes on."""
    seen = []

    def solver(_: Task, tools: Tools) -> str:
        seen.append(json.loads(tools.call("Finish", "{}"))["error"])
        return "ten"

    outcome, environment = await solve(solver, client)

    assert ["return_type must be give_answer or give_up_and_restart."] == seen
    assert ("ten", 2) == (outcome.final_answer, len(environment.steps))


@pytest.mark.parametrize("problem", [SystemExit(3), asyncio.CancelledError(), StopIteration()])
async def test_a_thread_hands_back_whatever_ends_it(problem: BaseException) -> None:
    """Nobody waits for ever."""

    def fail() -> None:
        raise problem

    async with asyncio.timeout(60):
        with pytest.raises((SystemExit, asyncio.CancelledError, RuntimeError)):
            await in_thread(fail)
