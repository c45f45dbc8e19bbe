"""Calls and turns of a page carry what they took, where the record allows to say so."""

from __future__ import annotations

from typing import Any

from stb_core.values.trajectories import (
    FINISH,
    FunctionCall,
    Message,
    ModelCall,
    Node,
    Step,
    StopReason,
    Timing,
    Trajectory,
)
from stb_server.inspector.json_view import PageBudget
from stb_server.inspector.trajectory_items import MeasuredTimes, TrajectoryItem, make_item, order_items
from stb_server.inspector.trajectory_trees import draw_tree

ROME, BONN = (
    Step(function="current", arguments=f'{{"city":"{city}"}}', observation="{}") for city in ("Rome", "Bonn")
)
END = Step(function=FINISH, arguments="{}")
ASKED = Message(role="user", content="?")
SILENT = Message(role="assistant", tool_calls=(FunctionCall(id="1", name="current", arguments="{}"),))
SAID = Message(role="assistant", content="Now Bonn.")
SEEN = Message(role="tool", content="{}", tool_call_id="1")
FIRST, SECOND, THIRD = (ModelCall(seconds=n, prompt_tokens=10 * n, completion_tokens=n) for n in (1, 2, 3))


def items(**given: Any) -> list[TrajectoryItem]:
    found = Trajectory(group="g", query_id="1", query="?", agent="a", stop=StopReason.ANSWERED, **given)
    measured = MeasuredTimes(found)
    rows = order_items(found, draw_tree(found.tree) if found.tree else None)
    return [make_item(n, *row, {}, PageBudget(), measured) for n, row in enumerate(rows)]


def test_a_conversation_shows_what_each_turn_and_call_took() -> None:
    """A turn without words is told at the call that it made."""
    shown = items(
        steps=(ROME, BONN, END),
        messages=(ASKED, SILENT, SEEN, SAID, SEEN),
        timing=Timing(tool_calls=(0.1, 0.2), model_calls=(FIRST, SECOND)),
    )

    assert [(None, None), (0.1, FIRST), (None, SECOND), (0.2, None), (None, None)] == [
        (item.seconds, item.asked) for item in shown
    ]


def test_a_search_shows_them_on_every_branch() -> None:
    """In the order of events, not of the way to the answer."""
    tree = (
        Node(parent=None, message=ASKED),
        Node(parent=0, message=SILENT),
        Node(parent=1, step=ROME, pruned="gave up"),
        Node(parent=0, message=SAID),
        Node(parent=3, step=BONN),
        Node(parent=4, step=END, final=True),
    )
    shown = items(
        steps=(BONN, END), tree=tree, timing=Timing(tool_calls=(0.1, 0.2), model_calls=(FIRST, SECOND))
    )

    assert [(None, None), (None, SECOND), (0.2, None), (None, None)] == [
        (item.seconds, item.asked) for item in shown
    ]


def test_what_cannot_be_matched_is_not_guessed() -> None:
    """More questions than turns: some asked for something else, and nobody knows which."""
    shown = items(
        steps=(ROME,),
        messages=(ASKED, SILENT, SEEN),
        timing=Timing(tool_calls=(0.1, 0.2), model_calls=(FIRST, SECOND, THIRD)),
    )

    assert {(None, None)} == {(item.seconds, item.asked) for item in shown}


def test_a_parent_that_is_no_node_is_no_turn() -> None:
    """Records of others may say anything."""
    tree = (Node(parent=None, message=ASKED), Node(parent=-7, step=ROME, final=True))

    assert [ROME] == [item.step for item in items(tree=tree)]
