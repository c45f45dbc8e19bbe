"""Search trees of other formats, and which path through one led to the answer."""

from __future__ import annotations

from dataclasses import dataclass

from stb_core.trajectories import FINISH, Message, Node, Step
from stb_evaluator.legacy.finish import GIVE_ANSWER, read_finish


@dataclass(frozen=True)
class Branch:
    """One node in the order of the search; ``parent`` is an index into the list of all nodes."""

    parent: int | None
    step: Step | None = None
    message: Message | None = None
    pruned: bool = False


def choose_path(branches: list[Branch]) -> list[int]:
    """Indexes from the root to the node where the search ended.

    That is the last ``Finish`` that gives an answer; without one the last that gives up; without
    one the last leaf.
    """
    if not branches:
        return []
    finishes = [i for i, b in enumerate(branches) if b.step is not None and b.step.function == FINISH]
    answers = [i for i in finishes if gives_answer(branches[i])]
    end: int | None = (answers or finishes or [len(branches) - 1])[-1]
    path: list[int] = []
    while end is not None:
        path.append(end)
        end = branches[end].parent
    return path[::-1]


def gives_answer(branch: Branch) -> bool:
    """Whether a search that ended here ended with an answer."""
    return branch.step is not None and read_finish(branch.step.arguments).return_type == GIVE_ANSWER


def to_nodes(branches: list[Branch], path: list[int]) -> tuple[Node, ...] | None:
    """The whole search in our form; None where there was no choice, because the steps tell it all."""
    if len(path) == len(branches):
        return None
    final = path[-1] if path else None
    return tuple(
        Node(
            parent=branch.parent,
            message=branch.message,
            step=branch.step,
            pruned="pruned" if branch.pruned else "",
            final=index == final,
        )
        for index, branch in enumerate(branches)
    )
