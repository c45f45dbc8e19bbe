"""Writing runs in other formats: ToolBench's converted answers and verdicts, OpenAI's messages."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from stb_core.values import FINISH, Message, Status, Step, Trajectory
from stb_evaluator.formats.offered import OfferedFunctions
from stb_evaluator.formats.raw_out import answer_of, method_of_agent, path_of, points_of

Function = dict[str, Any]
"""Name, description and parameters, as ``OfferedFunctions.functions`` gives them."""

_COLUMNS = (
    "query",
    "available_tools",
    "model_intermediate_steps",
    "model_final_step",
    "model",
    "query_id",
    "is_solved",
)
_WORDS = {
    Status.SOLVED: "AnswerStatus.Solved",
    Status.UNSURE: "AnswerStatus.Unsure",
    Status.UNSOLVED: "AnswerStatus.Unsolved",
}


def converted_record(
    trajectory: Trajectory, functions: Sequence[Function] | None = None, method: str = ""
) -> dict[str, Any]:
    """One converted answer; the path that led to the answer, as a chain of messages.

    Without ``functions`` their names alone are written. ``method`` is that of the run, for answers that name none.
    """
    named = (trajectory.imported or {}).get("method")
    details: list[dict[str, Any]] = []
    path = path_of(points_of(trajectory))
    for point in reversed(path):
        role, message = ("tool", _call(point.step)) if point.step else ("assistant", point.thought)
        details = [{"role": role, "message": message, "next": details}]
    details = [{"role": "user", "message": "", "next": details}]
    details = [{"role": "system", "message": "", "next": details}]
    return {
        "query": trajectory.query,
        "available_tools": OfferedFunctions().functions(trajectory) if functions is None else list(functions),
        "answer": {
            "method": str(named or method or method_of_agent(trajectory.agent)),
            "total_steps": len(path) + 2,
            "final_answer": answer_of(trajectory, path),
            "answer_details": details,
        },
    }


def pass_rate_record(trajectory: Trajectory, rounds: Sequence[Status | None]) -> dict[str, Any]:
    """One record of ``pass_rate_results``: the calls as texts and the verdict of every round.

    What needs no judge is unsolved in every round; a round without a verdict is left out.
    """
    texts = [str(_call(step)) for step in finished_steps(trajectory)]
    verdicts: dict[str, str] = {}
    for number, status in enumerate(rounds):
        if status in _WORDS:
            verdicts[str(number)] = _WORDS[status]
        elif not trajectory.answer_hash:
            verdicts[str(number)] = _WORDS[Status.UNSOLVED]
    return {
        "query": trajectory.query,
        "tool_names": list(trajectory.available_tools),
        "answer_steps": "\n".join(f"Step {n}: {text}" for n, text in enumerate(texts, start=1)),
        "final_step": f"Final step: {texts[-1] if texts else ''}",
        "is_solved": verdicts,
    }


def pass_rate_table(records: Mapping[str, Mapping[str, Any]], system: str) -> bytes:
    """Records of ``pass_rate_results`` by query id as the table beside them, which ToolBench's comparison reads."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, delimiter="\t")
    rows.writerow(_COLUMNS)
    for query_id, one in records.items():
        steps = one["query"], one["tool_names"], one["answer_steps"], one["final_step"]
        rows.writerow((*steps, system, query_id, one["is_solved"]))
    return text.getvalue().encode("utf-8", "replace")


def finished_steps(trajectory: Trajectory) -> tuple[Step, ...]:
    """The calls; an answer that was handed in without a call of ``Finish`` gets one."""
    if not trajectory.finished or (trajectory.steps and trajectory.steps[-1].function == FINISH):
        return trajectory.steps
    arguments = {"return_type": "give_answer", "final_answer": trajectory.final_answer}
    return (*trajectory.steps, Step(function=FINISH, arguments=orjson.dumps(arguments).decode()))


def _call(step: Step) -> dict[str, str]:
    return {"name": step.function, "arguments": step.arguments, "response": step.observation}


def openai_record(trajectory: Trajectory, functions: Sequence[Function]) -> dict[str, Any]:
    """One conversation in OpenAI's chat format, with what it is beside it."""
    return {
        "messages": [_message(message) for message in _conversation(trajectory)],
        "tools": [{"type": "function", "function": function} for function in functions],
        "metadata": {
            "group": trajectory.group,
            "query_id": trajectory.query_id,
            "trial": trajectory.trial,
            "agent": trajectory.agent,
            "model": trajectory.model,
            "stop": trajectory.stop.value,
            "final_answer": trajectory.final_answer,
        },
    }


def _conversation(trajectory: Trajectory) -> Sequence[Message]:
    """The messages as they were exchanged, or made from the calls where those were not kept."""
    is_ours = trajectory.imported is None
    if any(m.tool_calls or (is_ours and _is_said(m)) for m in trajectory.messages):
        return trajectory.messages
    made = [Message(role="user", content=trajectory.query)]
    for number, step in enumerate(finished_steps(trajectory)):
        one = {"id": f"call_{number}", "name": step.function, "arguments": step.arguments}
        made.append(Message.model_validate({"role": "assistant", "tool_calls": [one]}))
        made.append(Message(role="tool", content=step.observation, tool_call_id=one["id"]))
    return made


def _is_said(message: Message) -> bool:
    """Whether a model has said something in it."""
    return message.role == "assistant" and bool(message.content)


def _message(message: Message) -> dict[str, Any]:
    made: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        made["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for c in message.tool_calls
        ]
    if message.tool_call_id is not None:
        made["tool_call_id"] = message.tool_call_id
    return made
