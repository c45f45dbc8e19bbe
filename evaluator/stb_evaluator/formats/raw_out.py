"""Writing runs as ToolBench's raw answers: one file per query, with every try or the whole search.

``Thought``, ``Action`` and ``Action Input`` stand below each other, as ToolBench's agents write them. A search is
written as a tree, any other run as tries: the name of the method, which ToolBench's converter looks for in the
names of files, says which.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from stb_core.values import FINISH, Message, Step, Trajectory
from stb_evaluator.formats.finish import GIVE_ANSWER, read_finish

COT, DFS = "CoT@1", "DFS_woFilter_w2"
"""The methods by the names that ToolBench's commands use."""
_METHOD = re.compile(r"(?:CoT@\d+|DFS_woFilter_w\d+|DFS_w\d+)$")
_SEARCHING_AGENTS = frozenset({"dfsdt"})


@dataclass(frozen=True)
class Point:
    """A thought or a call below another; ``parent`` is an index into the list of all."""

    parent: int | None
    thought: str = ""
    step: Step | None = None
    pruned: bool = False
    final: bool = False


def points_of(trajectory: Trajectory) -> list[Point]:
    """All thoughts and calls of a trajectory, none before the one that it stands below.

    Thoughts whose place among the calls is not known are left out. An answer that was handed in without
    a call of ``Finish`` gets one.
    """
    points = _of_tree(trajectory) if trajectory.tree else _of_path(trajectory)
    if trajectory.finished and not any(map(_answers, points)):
        step = Step(function=FINISH, arguments=_arguments(trajectory.final_answer))
        points.append(Point(len(points) - 1 if points else None, step=step, final=True))
    return points


def path_of(points: Sequence[Point]) -> list[Point]:
    """From the root to the first point that is marked as final, or else to the last."""
    at = next((number for number, point in enumerate(points) if point.final), len(points) - 1)
    path: list[Point] = []
    following: int | None = at if points else None
    while following is not None:
        path.append(points[following])
        following = points[following].parent
    return path[::-1]


def answer_of(trajectory: Trajectory, path: Sequence[Point]) -> str:
    """The arguments of the last call, whole where that was cut; "" where no answer was given."""
    if not trajectory.finished:
        return ""
    said = path[-1].step.arguments if path and path[-1].step else ""
    is_whole = read_finish(said).answer == trajectory.final_answer
    return said if is_whole else _arguments(trajectory.final_answer)


def _arguments(answer: str) -> str:
    return orjson.dumps({"return_type": GIVE_ANSWER, "final_answer": answer}).decode()


def method_of_agent(agent: str) -> str:
    """ToolBench's name for an agent's method: a search for those of ours that search, else a chain; "" for no agent."""
    return DFS if agent in _SEARCHING_AGENTS else COT if agent else ""


def method_of(trajectories: Iterable[Trajectory]) -> str:
    """The method of a run: as imported answers name it, or a search where the agent searches or any answer branches.

    A search that never branched is still a search; answers that branch only at their root are tries.
    """
    for trajectory in trajectories:
        named = str((trajectory.imported or {}).get("method") or "")
        if found := _METHOD.search(named):
            return found[0]
        if method_of_agent(trajectory.agent) == DFS:
            return DFS
        below = Counter(point.parent for point in points_of(trajectory) if point.parent is not None)
        if any(count > 1 for count in below.values()):
            return DFS
    return COT


def raw_record(trajectory: Trajectory, method: str, functions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One raw answer, in the form that belongs to the method."""
    points = points_of(trajectory)
    path = path_of(points)
    total = trajectory.usage.total_tokens or (trajectory.imported or {}).get("total_tokens") or 0
    if "CoT" in method:
        chains = _chains(points)
        body: dict[str, Any] = {
            "try_count": len(chains),
            "trys": [{"chain": chain, "win": _wins(chain)} for chain in chains],
        }
    else:
        tree = {**_node("Action Input", "", 0, Point(None)), "children": _forest(points)}
        body = {"tree": {"size": len(points), "max_length": len(path), "tree": tree}}
    return {
        "win": trajectory.finished,
        **body,
        "forward_args": {},
        "compare_candidates": [],
        "answer_generation": {
            "valid_data": trajectory.finished,
            "query_count": trajectory.usage.model_calls,
            "total_tokens": total,
            "final_answer": answer_of(trajectory, path),
            "finish_type": "give_answer" if trajectory.finished else "give_up",
            "function": list(functions),
            "chain": [],
            "train_messages": [_conversation(trajectory.query, path)] if trajectory.finished else [],
            "query": trajectory.query,
        },
    }


def _of_tree(trajectory: Trajectory) -> list[Point]:
    points: list[Point] = []
    ends: list[int | None] = []  # of each node: the point that what is below it hangs on
    for node in trajectory.tree or ():
        end = None if node.parent is None else ends[node.parent]
        pruned = bool(node.pruned)
        if thought := _thought(node.message):
            points.append(Point(end, thought=thought, pruned=pruned))
            end = len(points) - 1
        if node.step:
            points.append(Point(end, step=node.step, pruned=pruned, final=node.final))
            end = len(points) - 1
        ends.append(end)
    return points


def _of_path(trajectory: Trajectory) -> list[Point]:
    left = list(trajectory.steps)
    points: list[Point] = []

    def add(thought: str = "", step: Step | None = None) -> None:
        points.append(Point(len(points) - 1 if points else None, thought, step))

    if any(message.tool_calls for message in trajectory.messages):
        for message in trajectory.messages:
            if thought := _thought(message):
                add(thought)
            for call in message.tool_calls:
                if left and (left[0].function, left[0].arguments) == (call.name, call.arguments):
                    add(step=left.pop(0))
    for step in left:
        add(step=step)
    return points


def _thought(message: Message | None) -> str:
    return (message.content or "") if message and message.role == "assistant" else ""


def _answers(point: Point) -> bool:
    step = point.step
    return bool(step and step.function == FINISH and read_finish(step.arguments).return_type == GIVE_ANSWER)


def _nodes(point: Point, depth: int) -> list[dict[str, Any]]:
    """One node for a thought, two for a call, the second to hang below the first."""
    if point.step is None:
        return [_node("Thought", point.thought, depth, point)]
    action = _node("Action", point.step.function, depth, point)
    given = _node("Action Input", point.step.arguments, depth + 1, point)
    return [action, {**given, "observation": point.step.observation}]


def _node(kind: str, text: str, depth: int, point: Point) -> dict[str, Any]:
    ends = point.step is not None and point.step.function == FINISH
    return {
        "is_terminal": ends,
        "pruned": point.pruned,
        "finished": ends and _answers(point),
        "depth": depth,
        "node_type": kind,
        "description": text,
    }


def _chains(points: Sequence[Point]) -> list[list[dict[str, Any]]]:
    """The nodes of each try, in a row."""
    chains: list[list[dict[str, Any]]] = []
    of_point: list[list[dict[str, Any]]] = []
    for point in points:
        if point.parent is None:
            chains.append([])
            of_point.append(chains[-1])
        else:
            of_point.append(of_point[point.parent])
        of_point[-1].extend(_nodes(point, len(of_point[-1]) + 1))
    return chains or [[]]


def _wins(chain: Sequence[dict[str, Any]]) -> bool:
    return bool(chain) and bool(chain[-1]["finished"])


def _forest(points: Sequence[Point]) -> list[dict[str, Any]]:
    """The nodes that stand below the root, each with its own below it."""
    below: list[list[dict[str, Any]]] = [[] for _ in points]
    roots: list[dict[str, Any]] = []
    depths: list[int] = []
    for number, point in enumerate(points):
        at = 1 if point.parent is None else depths[point.parent] + 1
        nodes = _nodes(point, at)
        depths.append(at + len(nodes) - 1)
        (roots if point.parent is None else below[point.parent]).append(nodes[0])
        if len(nodes) > 1:
            nodes[0]["children"] = [nodes[1]]
        nodes[-1]["children"] = below[number]
    return roots


def _conversation(query: str, path: Sequence[Point]) -> list[dict[str, Any]]:
    """The path as messages in OpenAI's older form, one call a message."""
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": ""},
        {"role": "user", "content": query},
    ]
    for point in path:
        if point.step is None:
            messages.append({"role": "assistant", "content": point.thought})
            continue
        call = {"name": point.step.function, "arguments": point.step.arguments}
        messages.append({"role": "assistant", "function_call": call})
        if point.step.function != FINISH:
            content = point.step.observation
            messages.append({"role": "function", "name": point.step.function, "content": content})
    return messages
