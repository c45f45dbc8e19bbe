"""One turn of a model: what it said, and what came of the calls in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stb_agents.environment.budget import BudgetSpent
from stb_agents.environment.environment import Environment
from stb_core.llm.protocol import Reply
from stb_core.values.observations import Finished
from stb_core.values.trajectories import FINISH, FunctionCall, Message, Step

GO_ON = "Go on: call a function, or call Finish if you have the answer."
_BEHIND = "Not done: it stands behind Finish."
_SPENT = "Not done: a budget is spent."


@dataclass(frozen=True)
class Seen:
    """One thing that came of a turn: a message for the model, the step that it belongs to, or both."""

    message: Message | None = None
    step: Step | None = None


@dataclass(frozen=True)
class Turn:
    """A turn; ``finished`` says how, when it ended the work, and ``spent`` is a budget that ended within it.

    Who keeps turns keeps this one as well before raising ``spent``: what was paid for and done is on record.
    """

    said: Message
    seen: tuple[Seen, ...]
    finished: Finished | None = None
    spent: BudgetSpent | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing was called."""
        return not self.said.tool_calls

    @property
    def messages(self) -> tuple[Message, ...]:
        """The turn as it stands in a conversation."""
        return (self.said, *(seen.message for seen in self.seen if seen.message))


async def act(reply: Reply, environment: Environment) -> Turn:
    """Make the calls of a reply.

    Calls of one turn do not depend on each other and are made at once. ``Finish`` ends the turn:
    what stands behind it is not done. A reply without calls is answered with a nudge.
    """
    said = reply.as_message()
    if not said.tool_calls:
        # Empty words are sent as such; a message with neither words nor calls is not accepted.
        said = said.model_copy(update={"content": said.content or ""})
        return Turn(said, (Seen(Message(role="user", content=GO_ON)),))
    calls = reply.tool_calls
    end = before_finish(calls)
    made = len(environment.steps)
    try:
        seen = await _observe(calls[:end], environment)
    except BudgetSpent as spent:
        steps = environment.steps[made:]
        seen = [_seen(call, step) for call, step in zip(calls, steps, strict=False)]
        seen.extend(Seen(observed(call, _SPENT)) for call in calls[len(steps) :])
        return Turn(said, tuple(seen), spent=spent)
    if end == len(calls):
        return Turn(said, tuple(seen))
    step, finished = environment.finish(calls[end].arguments)
    if finished:
        return Turn(said, (*seen, Seen(step=step)), finished)
    seen.append(Seen(observed(calls[end], step.observation), step))
    seen.extend(Seen(observed(call, _BEHIND)) for call in calls[end + 1 :])
    return Turn(said, tuple(seen))


def before_finish(calls: Sequence[FunctionCall]) -> int:
    """How many calls stand before ``Finish``; all of them where it is not called."""
    names = [call.name for call in calls]
    return names.index(FINISH) if FINISH in names else len(calls)


async def _observe(calls: Sequence[FunctionCall], environment: Environment) -> list[Seen]:
    steps = await environment.call_all(calls)
    return [_seen(call, step) for call, step in zip(calls, steps, strict=True)]


def _seen(call: FunctionCall, step: Step) -> Seen:
    return Seen(observed(call, step.observation), step)


def observed(call: FunctionCall, observation: str) -> Message:
    """What a call returned, as a message."""
    return Message(role="tool", content=observation, tool_call_id=call.id, name=call.name)
