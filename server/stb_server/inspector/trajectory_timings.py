"""What single calls and turns of a trajectory took, where the record says so and can be matched to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from stb_core.values.trajectories import FINISH, Message, ModelCall, Step, Trajectory

T = TypeVar("T")


class Measured:
    """The measurements of one trajectory; asked about its own steps and messages."""

    def __init__(self, found: Trajectory) -> None:
        nodes = found.tree or ()
        steps = [node.step for node in nodes if node.step] if found.tree else found.steps
        messages = [node.message for node in nodes if node.message] if found.tree else found.messages
        calls = [step for step in steps if step.function != FINISH]
        turns = [message for message in messages if message.role == "assistant"]
        timing = found.timing
        # Measurements stand in the order of events. Where a record does not hold every event (a search
        # that also asked for a ranking, say) nobody knows which is which, and none is shown.
        self._calls = _matched(calls, timing.tool_calls)
        self._turns = _matched(turns, timing.model_calls)

    def call(self, step: Step) -> float | None:
        """Seconds of a call, or None."""
        return self._calls.get(id(step))

    def turn(self, message: Message | None) -> ModelCall | None:
        """What a turn of the model took, or None."""
        return self._turns.get(id(message))


def _matched(events: Sequence[object], figures: Sequence[T]) -> dict[int, T]:
    """By the identity of the event."""
    if len(events) != len(figures):
        return {}
    return {id(event): figure for event, figure in zip(events, figures, strict=True)}
