"""A converted answer as the published code shows it to its judge, byte for byte.

ToolBench's converter writes no text into the nodes of system and user and none into the response of ``Finish``, and
takes what was said from the conversation of the last try. Files by other writers differ. Where an imported
answer cannot be made again from its trajectory, its text is kept with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stb_core.values import FINISH, Trajectory
from stb_evaluator.formats.converted_out import converted_record

_KEPT = "answer"
"""The member of ``Trajectory.imported`` with the text of an answer that cannot be made from the trajectory."""


def published_answer(trajectory: Trajectory) -> dict[str, Any]:
    """The ``answer`` of a converted answer, its members in order: as it was imported, or made from the trajectory.

    It is made, too, where the file has an empty final answer beside a call that gives one.
    """
    kept = (trajectory.imported or {}).get(_KEPT)
    answer: dict[str, Any] = json.loads(kept) if kept else {}
    if not answer or (trajectory.finished and not answer["final_answer"]):
        answer = converted_record(trajectory)["answer"]
    return answer


def kept_final_answer(imported: Mapping[str, Any] | None) -> str | None:
    """The final answer in the text that was kept of an imported answer; None if none was kept."""
    kept = (imported or {}).get(_KEPT)
    return str(json.loads(kept)["final_answer"]) if kept else None


def keep_published(trajectory: Trajectory, answer: dict[str, Any]) -> Trajectory:
    """The trajectory with the text of its ``answer``, if that cannot be made from the rest of it.

    A search tree does not count: judges are not shown it. An answer whose final answer is no text is not kept.
    """
    if not isinstance(answer.get("final_answer"), str):
        return trajectory
    try:
        text = json.dumps(answer)
        rest = trajectory.model_copy(update={"tree": None})
        if text == json.dumps(converted_record(rest)["answer"]):
            return trajectory
    except RecursionError:  # too deep to be shown to a judge at all
        return trajectory
    return trajectory.model_copy(update={"imported": {**(trajectory.imported or {}), _KEPT: text}})


def convert_raw(generation: dict[str, Any], method: str) -> dict[str, Any] | None:
    """The ``answer`` that ToolBench's converter makes of a raw answer; None where that is left to chance, or fails.

    Args:
        generation: ``answer_generation`` of the raw answer.
        method: the method that the converter is told.
    """
    conversations = generation.get("train_messages")
    if not generation.get("valid_data") or not isinstance(conversations, list) or not conversations:
        return None
    try:
        nodes = list(_nodes(conversations[-1]))
    except (AttributeError, IndexError, KeyError, TypeError):
        return None
    details: list[dict[str, Any]] = []
    for role, message in [("system", ""), ("user", ""), *nodes][::-1]:
        details = [{"role": role, "message": message, "next": details}]
    return {
        "method": method,
        "total_steps": len(nodes) + 2,
        "final_answer": generation.get("final_answer"),
        "answer_details": details,
    }


def _nodes(conversation: Sequence[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Role and message of each node below the user's; what was said beside a call is not among them."""
    number = 2
    while number < len(conversation):
        message = conversation[number]
        number += 1
        if message["role"] != "assistant":
            continue
        if call := message.get("function_call"):
            response = "" if call["name"] == FINISH else conversation[number]["content"]
            yield "tool", {"name": call["name"], "arguments": call["arguments"], "response": response}
            number += 1
        elif message.get("tool_calls") is not None:
            yield from _called(message["tool_calls"], conversation[number:])
        else:
            yield "assistant", message["content"]


def _called(
    calls: Sequence[dict[str, Any]], following: Sequence[dict[str, Any]]
) -> Iterator[tuple[str, Any]]:
    for call in calls:
        function = call["function"]
        node = {"name": function["name"], "arguments": function["arguments"]}
        if node["name"] == FINISH:
            yield "tool", {**node, "response": ""}
            return
        for message in following:
            if message["role"] == "tool" and message["tool_call_id"] == call["id"]:
                yield "tool", {**node, "response": message["content"]}
                break
