"""Search trees of other formats, and which path through one led to the answer."""

from __future__ import annotations

from dataclasses import dataclass

from stb_core.values import FINISH, FunctionCall, Message, Node, Step
from stb_evaluator.formats.finish import GIVE_ANSWER, read_finish


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
    """The whole search in our form; None where there was no choice, because the steps say everything."""
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


def to_messages(branches: list[Branch], path: list[int]) -> tuple[Message, ...]:
    """What was said on a path, and what was called, where only that tells the place of a thought."""
    on_path = [branches[index] for index in path]
    if not any(branch.message and branch.message.role == "assistant" for branch in on_path):
        return tuple(message for branch in on_path if (message := branch.message) and message.content)
    found: list[Message] = []
    for number, branch in enumerate(on_path):
        if branch.message and branch.message.content:
            found.append(branch.message)
        if step := branch.step:
            call = FunctionCall(id=f"call{number:05d}", name=step.function, arguments=step.arguments)
            found.append(Message(role="assistant", tool_calls=(call,)))
            if step.function != FINISH:
                answer = {"content": step.observation, "tool_call_id": call.id, "name": call.name}
                found.append(Message.model_validate({"role": "tool", **answer}))
    return tuple(found)
