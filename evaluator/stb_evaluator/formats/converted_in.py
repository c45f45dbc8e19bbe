"""Converted answers: ``{id: {query, available_tools, answer{answer_details…}}}``, a tree of messages."""

from __future__ import annotations

from typing import Any

from stb_core.errors import FormatError
from stb_core.values import Message, Step, Trajectory
from stb_evaluator.formats.finish import ended
from stb_evaluator.formats.functions import offered_names
from stb_evaluator.formats.paths import Branch, choose_path, to_messages, to_nodes
from stb_evaluator.formats.published import keep_published
from stb_evaluator.formats.records import AnswerRecord, object_field, text_field
from stb_evaluator.formats.steps import make_step, read_call

KIND = "converted"


def is_record(value: Any) -> bool:
    """Whether a value has the fields of such a record."""
    return isinstance(value, dict) and isinstance(value.get("answer"), dict) and "available_tools" in value


def read_record(record: dict[str, Any], system: str, group: str, query_id: str) -> AnswerRecord:
    """One record.

    Raises:
        FormatError: a field is missing or malformed.
    """
    answer = object_field(record, "answer")
    offered = record["available_tools"]
    if not isinstance(offered, list):
        raise FormatError("available_tools is not a list")
    tools = tuple(offered_names(offered))
    branches = _branches(answer.get("answer_details"), tools)
    path = choose_path(branches)
    steps = tuple(step for i in path if (step := branches[i].step) is not None)
    stop, final = ended(steps, answer.get("final_answer"))
    trajectory = Trajectory(
        group=group,
        query_id=query_id,
        query=text_field(record, "query"),
        agent=system,
        available_tools=tools,
        messages=to_messages(branches, path),
        steps=steps,
        tree=to_nodes(branches, path),
        stop=stop,
        final_answer=final,
        imported={"method": str(answer.get("method", "")), "total_steps": answer.get("total_steps")},
    )
    return AnswerRecord(keep_published(trajectory, answer))


def _branches(details: Any, tools: tuple[str, ...]) -> list[Branch]:
    if not isinstance(details, list):
        raise FormatError("answer_details is not a list")
    found: list[Branch] = []
    waiting: list[tuple[Any, int | None]] = [(node, None) for node in reversed(details)]
    while waiting:
        node, parent = waiting.pop()
        if not isinstance(node, dict):
            raise FormatError("answer_details holds something that is not a message")
        step, message = _read_message(node.get("role"), node.get("message"), tools)
        found.append(Branch(parent, step, message))
        following = node.get("next") or []
        if not isinstance(following, list):
            raise FormatError("next is not a list")
        waiting += [(child, len(found) - 1) for child in reversed(following)]
    return found


def _read_message(role: Any, message: Any, tools: tuple[str, ...]) -> tuple[Step | None, Message | None]:
    if role == "tool":
        if isinstance(message, dict):
            return make_step(message, tools), None
        call = read_call(str(message), tools)
        return (call, None) if call else (None, Message(role="tool", content=str(message)))
    if role not in {"system", "user", "assistant"}:
        raise FormatError(f"there is no role {str(role)[:40]!r}")
    return None, Message(role=role, content=str(message or ""))
