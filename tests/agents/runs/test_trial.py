"""One trial ends in a trajectory whatever happens, with faults of infrastructure told from the agent's."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any, ClassVar

import pytest

from agent_world import QUERIES, ending_when, environment_of
from llm_server import LLMServer, raw, status, text
from raw_server import reply, running_raw_server
from stb_agents.builtin.cot import Cot
from stb_agents.builtin.scripted import Scripted
from stb_agents.custom.callables import CallableAgent, Tools
from stb_agents.custom.remote import Remote
from stb_agents.environment.agent import ModelUse, Outcome, Task
from stb_agents.environment.budget import UNLIMITED, Budget, BudgetSpent, RunStopped
from stb_agents.environment.environment import Environment
from stb_agents.environment.server_client import VirtualClient
from stb_agents.runs.trial import run_trial
from stb_core.errors import (
    FormatError,
    ModelUnavailableError,
    RequestRefusedError,
    ServiceError,
    StoreError,
    UnreadableReplyError,
    UsageError,
)
from stb_core.llm.openai_client import OpenAIModel
from stb_core.llm.protocol import Endpoint, Reply, Request
from stb_core.llm.scripted import ScriptedModel
from stb_core.values.trajectories import FunctionCall, Message, StopReason, Trajectory


class Failing:
    """Makes one call and then raises what it was made with."""

    name: ClassVar[str] = "failing"
    model_use: ClassVar[ModelUse] = "none"
    budget: ClassVar[Budget] = UNLIMITED

    def __init__(self, problem: BaseException) -> None:
        self._problem = problem

    def settings(self) -> dict[str, Any]:
        return {}

    async def solve(self, task: Task, environment: Environment) -> Outcome:
        await environment.call("search_for_inns", '{"city": "Velmora"}')
        raise self._problem


@pytest.mark.parametrize(
    ("problem", "stop"),
    [
        (BudgetSpent(StopReason.MAX_TOKENS), StopReason.MAX_TOKENS),
        (ServiceError("gone"), StopReason.INFRASTRUCTURE),
        (ModelUnavailableError("gone"), StopReason.INFRASTRUCTURE),
        (UnreadableReplyError("gone"), StopReason.INFRASTRUCTURE),
        (RequestRefusedError("gone"), StopReason.AGENT_ERROR),
        (FormatError("gone"), StopReason.AGENT_ERROR),
        (KeyError("gone"), StopReason.AGENT_ERROR),
    ],
)
async def test_how_a_trial_ends(client: VirtualClient, problem: Exception, stop: StopReason) -> None:
    """What it did until then is kept, and the reason is said."""
    trajectory = await run_trial(Failing(problem), Task(QUERIES[0]), environment_of(client), None)

    assert (trajectory.stop, len(trajectory.steps)) == (stop, 1)
    assert ("gone" in trajectory.error) == (stop is not StopReason.MAX_TOKENS)


@pytest.mark.parametrize("problem", [StoreError("gone"), UsageError("no"), RunStopped("enough")])
async def test_what_ends_the_whole_run_is_passed_on(client: VirtualClient, problem: Exception) -> None:
    """There is no trajectory then."""

    async def attempt() -> None:
        await run_trial(Failing(problem), Task(QUERIES[0]), environment_of(client), None)

    with pytest.raises(type(problem)):
        await attempt()


async def test_an_agent_without_a_conversation_gets_one(client: VirtualClient) -> None:
    """One that a model could have had: each call is answered under its id, and Finish is the last."""
    trajectory = await run_trial(Scripted(), Task(QUERIES[0]), environment_of(client), None)

    ids = [call.id for message in trajectory.messages for call in message.tool_calls]
    answered = [message.tool_call_id for message in trajectory.messages if message.role == "tool"]
    roles = [message.role for message in trajectory.messages]
    assert roles == ["user", "assistant", "tool", "assistant", "tool", "assistant"]
    assert answered == ids[:-1]


class Acting(Failing):
    """Does with its environment what it was made with."""

    def __init__(self, act: Callable[[Environment], Any]) -> None:
        self._act = act

    async def solve(self, task: Task, environment: Environment) -> Outcome:
        await self._act(environment)
        return Outcome(StopReason.ANSWERED, "I know it all.")


async def trial_of(solver: Any, client: VirtualClient, **options: Any) -> Trajectory:
    """The trial of a callable, or of an agent; it is to end by itself."""
    agent = solver if hasattr(solver, "solve") else CallableAgent("own", solver)
    return await _ended(agent, environment_of(client, **options))


async def trial_until(
    is_over: Callable[[], bool], solver: Any, client: VirtualClient, **options: Any
) -> Trajectory:
    """As ``trial_of``; its time is up when the condition holds."""
    agent = solver if hasattr(solver, "solve") else CallableAgent("own", solver)
    return await _ended(agent, ending_when(client, is_over, **options))


async def _ended(agent: Any, environment: Environment) -> Trajectory:
    async with asyncio.timeout(120):  # a sign that it hangs, never that the machine is busy
        return await run_trial(agent, Task(QUERIES[0]), environment, None)


HALF = "\ud83d"
KNOWN = "current_for_sky_watch"


def says_half(*_: Any) -> str:
    return f"ten {HALF}"


def sends_half(_: Task, tools: Tools) -> str:
    return str(tools[KNOWN](city=HALF))


def names_half(_: Task, tools: Tools) -> str:
    return str(tools.call(f"f{HALF}", "{}"))


def finishes_with_half(_: Task, tools: Tools) -> None:
    tools.call("Finish", f'{{"return_type": "give_answer", "final_answer": "{HALF}"}}')


def fails_with_half(*_: Any) -> None:
    raise ValueError(HALF)


class Torn(Failing):
    """An agent whose record of its own has halves of surrogate pairs in it."""

    async def solve(self, task: Task, environment: Environment) -> Outcome:
        message = Message(
            role="tool",
            content=HALF,
            tool_calls=(FunctionCall(id=HALF, name=HALF, arguments=HALF),),
            tool_call_id=HALF,
            name=HALF,
        )
        await environment.ask([message])
        return Outcome(StopReason.ANSWERED, HALF, messages=(message,))


@pytest.mark.parametrize(
    "solver", [says_half, sends_half, names_half, finishes_with_half, fails_with_half, Torn(ValueError())]
)
async def test_half_a_character_is_replaced(client: VirtualClient, solver: Any) -> None:
    """Wherever an agent writes it: it cannot be stored, and the rest of what was done can."""

    class Echo:
        name = "stub/any"

        async def complete(self, request: Request) -> Reply:
            assert len(request.hash) == 64
            return Reply(content=HALF)

    trajectory = await trial_of(solver, client, model=Echo())

    wanted = StopReason.AGENT_ERROR if solver is fails_with_half else StopReason.ANSWERED
    assert wanted is trajectory.stop
    assert "?" in f"{trajectory.final_answer}{trajectory.error}{trajectory.steps}"
    assert Trajectory.model_validate_json(trajectory.model_dump_json()) == trajectory


class Quit(BaseException):
    """Something that no ``except Exception`` sees."""


def exits(*_: Any) -> None:
    sys.exit(3)


async def exits_asynchronously(*_: Any) -> None:
    sys.exit(3)


def cancels(*_: Any) -> None:
    raise asyncio.CancelledError


async def cancels_asynchronously(*_: Any) -> None:
    raise asyncio.CancelledError


def runs_out(*_: Any) -> None:
    next(iter([]))


async def awaits_what_was_cancelled(*_: Any) -> None:
    task = asyncio.create_task(asyncio.sleep(600))
    task.cancel()
    await task


@pytest.mark.parametrize(
    ("solver", "told"),
    [
        (exits, "The agent's code raised SystemExit(3)."),
        (exits_asynchronously, "The agent's code raised SystemExit(3)."),
        (Failing(SystemExit(3)), "The agent's code raised SystemExit(3)."),
        (Failing(Quit("odd")), "The agent's code raised Quit('odd')."),
        (cancels, "The agent's code raised CancelledError()."),
        (cancels_asynchronously, "The agent's code raised CancelledError()."),
        (awaits_what_was_cancelled, "The agent's code raised CancelledError()."),
        (runs_out, "RuntimeError: the agent raised StopIteration"),
    ],
)
async def test_an_agent_that_exits_ends_its_trial_only(client: VirtualClient, solver: Any, told: str) -> None:
    """Not the run, and it does not leave it waiting either."""
    trajectory = await trial_of(solver, client)

    assert (StopReason.AGENT_ERROR, told) == (trajectory.stop, trajectory.error)


async def swallows_everything(*_: Any) -> str:
    with contextlib.suppress(BaseException):
        await asyncio.sleep(600)
    return "ten"


@pytest.mark.parametrize("solver", [Acting(lambda _: asyncio.sleep(600)), swallows_everything])
async def test_a_trial_that_is_cancelled_is_over(client: VirtualClient, solver: Any) -> None:
    """That is for the run to say, and no agent can go on all the same."""
    trial = asyncio.create_task(trial_of(solver, client))
    await asyncio.sleep(0.05)
    trial.cancel()

    with pytest.raises(asyncio.CancelledError):
        await trial


async def test_ctrl_c_is_passed_on(client: VirtualClient) -> None:
    """It is no fault of the agent in whose code it arrives."""
    with pytest.raises(KeyboardInterrupt):
        await run_trial(Failing(KeyboardInterrupt()), Task(QUERIES[0]), environment_of(client), None)


async def sleeps(*_: Any) -> None:
    await asyncio.sleep(600)


async def makes_an_error_of_it(*_: Any) -> None:
    try:
        await asyncio.sleep(600)
    except BaseException:  # noqa: BLE001
        raise ValueError("odd") from None


@pytest.mark.parametrize(
    "solver", [sleeps, swallows_everything, makes_an_error_of_it, Acting(lambda _: asyncio.sleep(600))]
)
async def test_time_ends_an_agent_that_waits(client: VirtualClient, solver: Any) -> None:
    """Also one that asks nothing of its environment, and one that takes no notice."""
    trajectory = await trial_of(solver, client, budget=Budget(max_seconds=0.1))

    assert (StopReason.MAX_SECONDS, "", "") == (trajectory.stop, trajectory.final_answer, trajectory.error)


async def test_time_ends_an_agent_that_blocks(client: VirtualClient) -> None:
    """Its thread may go on, but calls nothing any more."""
    late: list[Any] = []
    over, done = threading.Event(), threading.Event()

    def solve(_: Task, tools: Tools) -> str:
        over.wait(60)
        try:
            late.append(tools[KNOWN](city="Velmora"))
        except BudgetSpent as spent:
            late.append(spent.reason)
        done.set()
        return "ten"

    trajectory = await trial_of(solve, client, budget=Budget(max_seconds=0.1))
    over.set()
    await asyncio.to_thread(done.wait, 60)

    assert (StopReason.MAX_SECONDS, ()) == (trajectory.stop, trajectory.steps)
    assert [StopReason.MAX_SECONDS] == late


def swallows_its_budget(_: Task, tools: Tools) -> str:
    for _number in range(3):
        with contextlib.suppress(Exception):
            tools[KNOWN](city="Velmora")
    return "ten"


async def swallows_in_a_class(environment: Environment) -> None:
    for _ in range(3):
        with contextlib.suppress(Exception):
            await environment.call(KNOWN, "{}")


@pytest.mark.parametrize("solver", [swallows_its_budget, Acting(swallows_in_a_class)])
async def test_a_spent_budget_that_an_agent_swallows_ends_it(client: VirtualClient, solver: Any) -> None:
    """It is not judged by what it says then."""
    trajectory = await trial_of(solver, client, budget=Budget(max_tool_calls=1))

    assert (StopReason.MAX_TOOL_CALLS, "", 1) == (
        trajectory.stop,
        trajectory.final_answer,
        len(trajectory.steps),
    )


async def test_an_answer_before_the_end_of_the_budget_stands(client: VirtualClient) -> None:
    """A search may go on for another one."""

    async def act(environment: Environment) -> None:
        environment.finish('{"return_type": "give_answer", "final_answer": "Ten."}')
        await environment.call(KNOWN, "{}")

    trajectory = await trial_of(Acting(act), client, budget=Budget(max_tool_calls=0))

    assert (StopReason.ANSWERED, "Ten.") == (trajectory.stop, trajectory.final_answer)


async def asks(environment: Environment) -> None:
    await environment.ask([Message(role="user", content="?")])


async def asks_twice(environment: Environment) -> None:
    await asks(environment)
    await asks(environment)


@pytest.fixture
async def model(llm: LLMServer) -> AsyncGenerator[OpenAIModel]:
    """A model behind the scripted LLM server."""
    made = OpenAIModel("stub/any", Endpoint(llm.url, "", "STUB_BASE_URL", "STUB_API_KEY"))
    yield made
    await made.close()


SLOW = text("Well.", delay_s=600)


async def test_a_dead_model_until_the_end_of_time_is_infrastructure(
    llm: LLMServer, client: VirtualClient, model: OpenAIModel
) -> None:
    """The agent has no part in it: the trial is to be repeated."""
    llm.rule = lambda _: status(503)

    trajectory = await trial_until(lambda: llm.count > 1, Acting(asks), client, model=model)

    assert StopReason.INFRASTRUCTURE is trajectory.stop
    assert trajectory.error.startswith("stub/any gave no answer in time; failed attempts: ")


@pytest.mark.parametrize("answers", [[SLOW], [status(503), text("Well."), SLOW]])
async def test_a_slow_model_is_not_dead(
    llm: LLMServer, client: VirtualClient, model: OpenAIModel, answers: list[Any]
) -> None:
    """Nor is one that is slow after it has recovered."""
    llm.answer(*answers)

    trajectory = await trial_until(lambda: llm.count == len(answers), Acting(asks_twice), client, model=model)

    assert (StopReason.MAX_SECONDS, "") == (trajectory.stop, trajectory.error)


def calls_a_tool(_: Task, tools: Tools) -> str:
    return str(tools[KNOWN](city="Velmora"))


@pytest.mark.parametrize("solver", [calls_a_tool, Remote("http://127.0.0.1:9/act")])
async def test_a_dead_server_until_the_end_of_time_is_infrastructure(solver: Any) -> None:
    """Where a tool is called, and where an episode is to be opened."""
    async with running_raw_server() as server:
        busy = reply("503 Service Unavailable")
        server.paths = {"/virtual": busy, "/v1/episodes": busy}
        async with VirtualClient(server.url) as client:
            trajectory = await trial_until(lambda: len(server.heard) > 1, solver, client)

    assert StopReason.INFRASTRUCTURE is trajectory.stop
    assert trajectory.error.startswith(f"The server at {server.url} gave no answer")


@pytest.mark.parametrize("retry_after", [None, 60])
@pytest.mark.parametrize("attempts", [0, 1, 2])
async def test_a_dead_remote_agent_until_the_end_of_time_is_infrastructure(
    llm: LLMServer, client: VirtualClient, retry_after: float | None, attempts: int
) -> None:
    """However long it asks to be left alone, and however often it could be asked in the time."""
    llm.rule = lambda _: status(503, retry_after=retry_after if llm.count >= attempts else 0)
    agent = Remote(f"{llm.url}/completions")

    trajectory = await trial_until(lambda: llm.count >= attempts, agent, client)

    assert StopReason.INFRASTRUCTURE is trajectory.stop
    assert trajectory.error.startswith("The agent at 127.0.0.1")


async def test_no_time_for_a_remote_agent_is_infrastructure(llm: LLMServer, client: VirtualClient) -> None:
    """The time can be up before the agent was asked at all."""
    agent = Remote(f"{llm.url}/completions")

    trajectory = await trial_of(agent, client, budget=Budget(max_seconds=1e-9))

    assert (StopReason.INFRASTRUCTURE, 0) == (trajectory.stop, llm.count)


async def test_a_remote_agent_that_never_answers_is_infrastructure(
    llm: LLMServer, client: VirtualClient
) -> None:
    """Nobody can tell whether it is slow or dead."""
    llm.answer(SLOW)

    trajectory = await trial_until(lambda: llm.count == 1, Remote(f"{llm.url}/completions"), client)

    assert StopReason.INFRASTRUCTURE is trajectory.stop


async def test_a_remote_agent_that_answered_once_is_slow(llm: LLMServer, client: VirtualClient) -> None:
    """It is alive, and its time is its own."""
    llm.answer(raw(b'{"calls": [{"name": "search_for_inns", "arguments": {"city": "Velmora"}}]}'), SLOW)

    trajectory = await trial_until(lambda: llm.count == 2, Remote(f"{llm.url}/completions"), client)

    assert (StopReason.MAX_SECONDS, 1) == (trajectory.stop, len(trajectory.steps))


async def test_a_reply_that_was_cut_before_a_call_is_why_the_trial_ended(client: VirtualClient) -> None:
    """The trajectory holds what the model wrote, and that it reached the limit; a call after it is another end."""
    cut = Reply(content="First I will", finish_reason="length")
    called = Reply(
        tool_calls=(FunctionCall(id="", name="search_for_inns", arguments="{}"),), finish_reason="length"
    )
    ends = []
    for replies in ([cut] * 3, [cut, cut, Reply(content="Well."), cut], [cut, called] * 6):
        model = ScriptedModel(replies)
        trajectory = await run_trial(Cot(), Task(QUERIES[0]), environment_of(client, model=model), "m")
        ends.append(trajectory.stop)

    assert [StopReason.REPLY_CUT, StopReason.NO_FINISH, StopReason.MAX_STEPS] == ends
    reasons = [call.finish_reason for call in trajectory.timing.model_calls]
    assert ["length"] * 12 == reasons
    assert "First I will" in [message.content for message in trajectory.messages]
