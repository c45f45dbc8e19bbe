"""Calls and messages of a trajectory in the order of a page, with their timings, each cut to size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from stb_core.values import FINISH, Message, Node, Step, Trajectory
from stb_core.values.trajectories import ModelCall
from stb_server.inspector import json_view, trajectory_trees
from stb_server.inspector.json_view import PageBudget, Token
from stb_server.inspector.run_digests import key_of

T = TypeVar("T")

_STEP_NODES = 150
_STEP_TEXT = 8_000
_MAX_MESSAGE = 8_000


@dataclass(frozen=True)
class TrajectoryItem:
    """A call or a message as a page shows it; ``response`` is the address of the recorded answer.

    With a step, ``message`` is the turn of the model that made the call without text.
    """

    number: int
    step: Step | None = None
    message: Message | None = None
    seconds: float | None = None
    """What the call took; None where it was not measured."""
    asked: ModelCall | None = None
    """What the model's turn took and consumed; None where it was not measured."""
    text: str = ""
    """What the message says, as far as the page has room for it."""
    arguments: tuple[Token, ...] = ()
    observation: tuple[Token, ...] = ()
    error: str = ""
    response: str = ""
    is_cut: bool = False
    is_bare: bool = False
    """The page has no room left for its arguments and its observation."""


def order_items(
    trajectory: Trajectory, tree: trajectory_trees.TreeView | None
) -> list[tuple[Step | None, Message | None]]:
    """The messages and calls on the path to the answer; a call replaces the message that reports it."""
    if trajectory.tree and tree and tree.path:
        nodes = [trajectory.tree[number] for number in tree.path]
        return [
            (node.step, find_turn(trajectory.tree, node))
            for node in nodes
            if node.step or (node.message and node.message.content)
        ]
    steps = list(trajectory.steps)
    rows: list[tuple[Step | None, Message | None]] = []
    silent: Message | None = None
    for message in trajectory.messages:
        if message.role == "tool" and steps:
            rows.append((steps.pop(0), silent))
            silent = None
        elif message.content:
            rows.append((None, message))
        else:
            silent = message
    return [*rows, *((step, None) for step in steps)]


def find_turn(nodes: Sequence[Node], node: Node) -> Message | None:
    """The message of a node; for a step, the model's turn above it if that has no text."""
    if node.step is None:
        return node.message
    above = nodes[node.parent].message if node.parent is not None and 0 <= node.parent < len(nodes) else None
    return above if above and above.role == "assistant" and not above.content else None


def has_order(trajectory: Trajectory) -> bool:
    """Whether the record has the order of messages and calls; some imported formats do not."""
    has_replies = any(message.role == "assistant" for message in trajectory.messages)
    return (
        trajectory.tree is not None
        or not has_replies
        or any(message.role == "tool" for message in trajectory.messages)
    )


def make_item(
    number: int,
    step: Step | None,
    message: Message | None,
    recorded: dict[str, str],
    budget: PageBudget,
    measured: MeasuredTimes,
) -> TrajectoryItem:
    """Make an item; reduces the budget of the page by what it shows.

    ``recorded`` holds the pages of recorded answers by key.
    """
    if step is None:
        content = message.content or "" if message else ""
        text = content[: max(0, min(_MAX_MESSAGE, budget.text))]
        budget.text -= len(text)
        is_cut = len(content) > len(text)
        return TrajectoryItem(number, message=message, asked=measured.turn(message), text=text, is_cut=is_cut)
    if budget.nodes <= 0 or budget.text <= 0:
        bare = step, message, measured.call(step), measured.turn(message)
        return TrajectoryItem(
            number, *bare, response=recorded.get(key_of(step), ""), is_cut=True, is_bare=True
        )
    own = PageBudget(max(0, min(_STEP_NODES, budget.nodes)), max(0, min(_STEP_TEXT, budget.text)))
    before = own.nodes, own.text
    answer = json_view.view_answer(step.observation)
    arguments = json_view.make_tokens(_arguments(step.arguments), own)
    observation = json_view.make_tokens(answer.value, own) if step.observation else []
    budget.nodes -= before[0] - own.nodes
    budget.text -= before[1] - own.text
    return TrajectoryItem(
        number,
        step,
        message,
        measured.call(step),
        measured.turn(message),
        arguments=tuple(arguments),
        observation=tuple(observation),
        error=answer.error,
        response=recorded.get(key_of(step), ""),
        is_cut=json_view.is_cut(observation),
    )


def _arguments(text: str) -> Any:
    is_json, value = json_view.read_json(text)
    return value if is_json else text


class MeasuredTimes:
    """The measured times of one trajectory, by its steps and messages."""

    def __init__(self, trajectory: Trajectory) -> None:
        nodes = trajectory.tree or ()
        steps = [node.step for node in nodes if node.step] if trajectory.tree else trajectory.steps
        messages = (
            [node.message for node in nodes if node.message] if trajectory.tree else trajectory.messages
        )
        calls = [step for step in steps if step.function != FINISH]
        turns = [message for message in messages if message.role == "assistant"]
        timing = trajectory.timing
        # Measurements are in the order of events. If a record lacks some events (a search also asked for a
        # ranking, say), they cannot be matched, and none is shown.
        self._calls = _pair(calls, timing.tool_calls)
        self._turns = _pair(turns, timing.model_calls)

    def call(self, step: Step) -> float | None:
        """Seconds of a call, or None."""
        return self._calls.get(id(step))

    def turn(self, message: Message | None) -> ModelCall | None:
        """Tokens and time of a turn of the model, or None."""
        return self._turns.get(id(message))


def _pair(events: Sequence[object], figures: Sequence[T]) -> dict[int, T]:
    """Figures by the identity of the event."""
    if len(events) != len(figures):
        return {}
    return {id(event): figure for event, figure in zip(events, figures, strict=True)}
