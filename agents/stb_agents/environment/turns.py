"""One turn of a model: its reply, and the results of the calls in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stb_agents.environment.budget import BudgetSpent
from stb_agents.environment.environment import Environment
from stb_core.llm import Reply
from stb_core.values import FINISH, Finished, FunctionCall, Message, Step

NUDGE = "Go on: call a function, or call Finish if you have the answer."
_AFTER_FINISH = "Not done: it stands behind Finish."
_SPENT = "Not done: a budget is spent."


@dataclass(frozen=True)
class TurnResult:
    """One result of a turn: a message for the model, the step that it belongs to, or both."""

    message: Message | None = None
    step: Step | None = None


@dataclass(frozen=True)
class Turn:
    """A turn: the model's message ``reply``, and ``results`` in the order of its calls.

    ``finished`` is set when the turn ended the work, ``spent`` when a limit was reached within it. An agent
    records the turn before it raises ``spent``, so that nothing that was paid for is lost.
    """

    reply: Message
    results: tuple[TurnResult, ...]
    finished: Finished | None = None
    spent: BudgetSpent | None = None

    @property
    def is_idle(self) -> bool:
        """Whether the model called nothing."""
        return not self.reply.tool_calls

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages of the turn in a conversation."""
        return (self.reply, *(result.message for result in self.results if result.message))


async def perform_calls(reply: Reply, environment: Environment) -> Turn:
    """Make the calls of a reply.

    Calls of one turn do not depend on each other and are made at once. ``Finish`` ends the turn: calls after
    it are not made. A reply without calls is answered with a request to call something.

    Raises:
        ServiceError: the server failed.
    """
    message = reply.as_message()
    if not message.tool_calls:
        # An empty text is sent as such: endpoints refuse a message with neither text nor calls.
        message = message.model_copy(update={"content": message.content or ""})
        return Turn(message, (TurnResult(Message(role="user", content=NUDGE)),))
    calls = reply.tool_calls
    end = count_before_finish(calls)
    n_before = len(environment.steps)
    try:
        results = await _call_all(calls[:end], environment)
    except BudgetSpent as spent:
        steps = environment.steps[n_before:]
        results = [_result_of(call, step) for call, step in zip(calls, steps, strict=False)]
        results.extend(TurnResult(observation_message(call, _SPENT)) for call in calls[len(steps) :])
        return Turn(message, tuple(results), spent=spent)
    if end == len(calls):
        return Turn(message, tuple(results))
    step, finished = environment.finish(calls[end].arguments)
    if finished:
        return Turn(message, (*results, TurnResult(step=step)), finished)
    results.append(TurnResult(observation_message(calls[end], step.observation), step))
    results.extend(TurnResult(observation_message(call, _AFTER_FINISH)) for call in calls[end + 1 :])
    return Turn(message, tuple(results))


def count_before_finish(calls: Sequence[FunctionCall]) -> int:
    """How many calls come before ``Finish``; all of them where it is not called."""
    names = [call.name for call in calls]
    return names.index(FINISH) if FINISH in names else len(calls)


async def _call_all(calls: Sequence[FunctionCall], environment: Environment) -> list[TurnResult]:
    steps = await environment.call_all(calls)
    return [_result_of(call, step) for call, step in zip(calls, steps, strict=True)]


def _result_of(call: FunctionCall, step: Step) -> TurnResult:
    return TurnResult(observation_message(call, step.observation), step)


def observation_message(call: FunctionCall, observation: str) -> Message:
    """What a call returned, as a message of the conversation."""
    return Message(role="tool", content=observation, tool_call_id=call.id, name=call.name)
