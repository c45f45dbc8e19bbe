"""What an agent is shown in return for a call, and what its call of ``Finish`` means."""

from __future__ import annotations

import json
from dataclasses import dataclass

from stb_agents.functions import GIVE_ANSWER, GIVE_UP
from stb_core.calls import parse_arguments
from stb_core.errors import CallError
from stb_core.trajectories import FINISH, StopReason


@dataclass(frozen=True)
class Finished:
    """What a call of ``Finish`` means: ``stop`` is answered or gave up."""

    stop: StopReason
    final_answer: str = ""


def read_finish(arguments: str) -> Finished | str:
    """The meaning of the arguments of ``Finish``, or what is wrong with them."""
    try:
        given = parse_arguments(arguments)
    except CallError as problem:
        return about_arguments(problem, FINISH)
    wanted = given.get("return_type")
    if wanted == GIVE_UP:
        return Finished(StopReason.GAVE_UP)
    if wanted != GIVE_ANSWER:
        return f"return_type must be {GIVE_ANSWER} or {GIVE_UP}."
    answer = given.get("final_answer")
    if answer is None or answer == "":
        return f"final_answer is missing; it is needed with {GIVE_ANSWER}."
    text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    return Finished(StopReason.ANSWERED, text)


def truncated(text: str, limit: int) -> str:
    """The rule for long observations: the first ``limit`` characters, and how many there were."""
    return text if len(text) <= limit else f"{text[:limit]}… [{limit} of {len(text)} characters]"


def about_arguments(problem: CallError, function: str) -> str:
    """What is wrong with arguments, in words for the one who wrote them."""
    return problem.message.replace("tool_input", f"The argument text of {function}")


def failure(message: str) -> str:
    """An observation in the form of a tool's answer."""
    return json.dumps({"error": message, "response": ""}, ensure_ascii=False)
