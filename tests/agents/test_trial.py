"""One trial ends in a trajectory whatever happens, with faults of infrastructure told from the agent's."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from stb_agents.agent import ModelUse, Outcome, Task
from stb_agents.budget import UNLIMITED, Budget, BudgetSpent
from stb_agents.client import VirtualClient
from stb_agents.environment import Environment
from stb_agents.purse import RunStopped
from stb_agents.scripted import Scripted
from stb_agents.trial import run_trial
from stb_core.errors import (
    FormatError,
    ModelUnavailableError,
    RequestRefusedError,
    ServiceError,
    StoreError,
    UnreadableReplyError,
    UsageError,
)
from stb_core.trajectories import StopReason

from .world import QUERIES, environment_of


class Failing:
    """Makes one call and then raises what it was made with."""

    name: ClassVar[str] = "failing"
    model_use: ClassVar[ModelUse] = "none"
    budget: ClassVar[Budget] = UNLIMITED

    def __init__(self, problem: Exception) -> None:
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
