"""``pass_rate_results/<system>/<group>.json``: answers as one text each, with a verdict a round."""

from __future__ import annotations

from typing import Any

from stb_core.errors import FormatError
from stb_core.values import Status, Trajectory
from stb_evaluator.formats.finish import stop_of
from stb_evaluator.formats.records import AnswerRecord, read_status, text_field, whole_object
from stb_evaluator.formats.steps import read_call, read_text

KIND = "pass_rate_results"
_FINAL = "Final step: "


def is_record(value: Any) -> bool:
    """Whether a value has the fields of such a record."""
    return isinstance(value, dict) and "is_solved" in value and "answer_steps" in value


def read_record(record: dict[str, Any], system: str, group: str, query_id: str) -> AnswerRecord:
    """One record.

    Raises:
        FormatError: a field is missing or malformed.
    """
    names = whole_object(record).get("tool_names", [])
    if not isinstance(names, list):
        raise FormatError("tool_names is not a list")
    tools = tuple(map(str, names))
    steps, messages = read_text(text_field(record, "answer_steps"), tools)
    if not steps and (final := read_call(text_field(record, "final_step").removeprefix(_FINAL), tools)):
        steps = (final,)
    stop, answer = stop_of(steps)
    trajectory = Trajectory(
        group=group,
        query_id=query_id,
        query=text_field(record, "query"),
        agent=system,
        available_tools=tools,
        messages=messages,
        steps=steps,
        stop=stop,
        final_answer=answer,
    )
    return AnswerRecord(trajectory, _verdicts(record["is_solved"]))


def _verdicts(value: Any) -> dict[int, Status]:
    if isinstance(value, str):
        return {0: read_status(value)}
    if not isinstance(value, dict) or not all(str(name).isdigit() for name in value):
        raise FormatError("is_solved does not hold verdicts by round")
    return {int(name): read_status(value[name]) for name in sorted(value, key=int)}
