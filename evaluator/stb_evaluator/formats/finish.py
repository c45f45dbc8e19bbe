"""How an agent of ToolBench ended: the arguments of its last call, read by structure.

``Finish`` takes ``{"return_type": "give_answer" | "give_up_and_restart", "final_answer": text}``
(arXiv:2307.16789, section 3.2). Answers that ran into a token limit are cut, and some hold quotation
marks that are not escaped; ToolBench's client accepts both, so they are read as far as they go. What
stands *inside* an answer never decides anything.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from stb_core.values import FINISH, Step, StopReason

GIVE_ANSWER = "give_answer"

# Models trained on the text protocol sometimes write its words again before the arguments.
_ECHO = re.compile(r"(?:\s*(?:\{\s*)?Action: Finish\s*Action Input:)+")
_TYPE_FIRST = re.compile(
    r'\s*\{\s*"return_type"\s*:\s*"(?P<type>\w+)"\s*(?:,\s*"final_answer"\s*:\s*"(?P<answer>.*))?', re.DOTALL
)
_ANSWER_FIRST = re.compile(
    r'\s*\{\s*"final_answer"\s*:\s*"(?P<answer>.*)"\s*,\s*"return_type"\s*:\s*"(?P<type>\w+)"\s*\}?\s*',
    re.DOTALL,
)
_ESCAPE = re.compile(r'\\(u[0-9a-fA-F]{4}|["\\/bfnrt])')


@dataclass(frozen=True)
class FinishCall:
    """The arguments of ``Finish``; ``whole`` is False when they were cut or malformed."""

    return_type: str
    answer: str
    whole: bool = True


def read_finish(arguments: str) -> FinishCall:
    """Read the arguments of a call of ``Finish``; ``return_type`` is empty when they tell nothing."""
    arguments = _ECHO.sub("", arguments, count=1) if _ECHO.match(arguments) else arguments
    try:
        value = json.loads(arguments, strict=False)
    except (ValueError, RecursionError):
        return _read_cut(arguments)
    if not isinstance(value, dict):
        return FinishCall("", "", whole=False)
    return FinishCall(str(value.get("return_type") or ""), _text(value.get("final_answer")))


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _read_cut(arguments: str) -> FinishCall:
    if found := _ANSWER_FIRST.fullmatch(arguments):
        answer = found["answer"]
    elif found := _TYPE_FIRST.match(arguments):
        answer = (found["answer"] or "").rstrip().removesuffix("}").rstrip()
        if not answer.endswith('\\"'):
            answer = answer.removesuffix('"')
    else:
        return FinishCall("", "", whole=False)
    return FinishCall(found["type"], _ESCAPE.sub(_unescape, answer), whole=False)


def _unescape(found: re.Match[str]) -> str:
    unescaped: str = json.loads(f'"{found[0]}"')
    return unescaped


def stop_of(steps: tuple[Step, ...]) -> tuple[StopReason, str]:
    """Why a trajectory ended and its final answer, from its last call alone."""
    if not steps or steps[-1].function != FINISH:
        return StopReason.NO_FINISH, ""
    call = read_finish(steps[-1].arguments)
    if call.return_type == GIVE_ANSWER:
        return StopReason.ANSWERED, call.answer
    return (StopReason.GAVE_UP if call.return_type else StopReason.NO_FINISH), ""


def ended(steps: tuple[Step, ...], field: object) -> tuple[StopReason, str]:
    """As ``stop_of``; where the last call was cut, the file's own field for the final answer is whole."""
    if steps and steps[-1].function == FINISH and isinstance(field, str):
        is_cut = steps[-1].truncated or not read_finish(steps[-1].arguments).whole
        if is_cut and (call := read_finish(field)).return_type == GIVE_ANSWER:
            return StopReason.ANSWERED, call.answer
    return stop_of(steps)
