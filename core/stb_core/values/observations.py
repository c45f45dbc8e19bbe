"""What an agent is shown in return for a call, and what its call of ``Finish`` means.

The rules are the same for agents that run here and for those that come over HTTP. In the form ``reference`` an agent
is shown what the published client of ToolBench writes, byte for byte: JSON as Python's ``json.dumps`` writes it, the
first characters of it and three dots, and that client's own words for a call that means nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from stb_core.errors import CallError, FormatError
from stb_core.values.calls import parse_arguments
from stb_core.values.functions import GIVE_ANSWER, GIVE_UP, Functions
from stb_core.values.tools import ApiRef
from stb_core.values.trajectories import FINISH, AnswerSource, Step, StopReason

DEFAULT_OBSERVATION = 1024
"""Characters of an observation that an agent is shown by default."""

ObservationForm: TypeAlias = Literal["plain", "reference"]
"""Whether observations are the server's own text, or in the form of the published client."""


@dataclass(frozen=True)
class ObservationStyle:
    """How an agent is shown what came back: the most characters, and the form."""

    limit: int = DEFAULT_OBSERVATION
    form: ObservationForm = "plain"

    def settings(self) -> dict[str, Any]:
        """The settings as a manifest and the terms of an episode hold them; a form only if it is not the usual."""
        form = {} if self.form == "plain" else {"observation": self.form}
        return {"max_observation": self.limit, **form}

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> ObservationStyle:
        """The style that ``settings`` describe."""
        return cls(settings["max_observation"], settings.get("observation", "plain"))

    def show(self, text: str) -> tuple[str, bool]:
        """A tool's answer, or what is wrong with a call, as the agent sees it; and whether it was cut."""
        if self.form == "plain":
            return truncate(text, self.limit), len(text) > self.limit
        with suppress(ValueError, RecursionError):  # not JSON, or too deep to be written again: as it is
            text = json.dumps(json.loads(text))
        is_cut = len(text) > self.limit
        return f"{text[: self.limit]}..." if is_cut else text, is_cut

    def word(self, plain: str, reference: str) -> str:
        """What is wrong with a call, in the words of the form."""
        return plain if self.form == "plain" else reference


PLAIN = ObservationStyle()
"""The usual style."""

# Longer ones are a mistake of the agent's, which a server would refuse as too large to read.
_LONGEST_ARGUMENTS = 100_000


@dataclass(frozen=True)
class Outgoing:
    """A call that means an API: what is known of its step, and what is to be sent, as JSON text."""

    step: Step
    ref: ApiRef
    arguments: str


def read_call(functions: Functions, name: str, arguments: str, style: ObservationStyle) -> Outgoing | Step:
    """What a call of an agent means; a finished step where it means nothing.

    An unknown function and unusable arguments are not errors: the agent is told in the observation,
    as it is of a tool's own failure.

    Args:
        functions: those that the query offers.
        name: of the function, as the agent wrote it.
        arguments: as the agent wrote them.
        style: how the agent is shown what is wrong.
    """
    function = functions.find(name)
    step = Step(function=name, arguments=arguments)
    if function is None:
        known = ", ".join((*functions.names, FINISH))
        text = style.word(
            f"There is no function {name!r}. Use one of: {known}.", f"No such function name: {name}"
        )
        return with_observation(step, failure(text), style, error=text, hallucinated=True)
    ref = function.ref
    step = step.model_copy(update=ref._asdict())
    try:
        given = _parsed(arguments)
    except CallError as problem:
        text = style.word(describe_argument_problem(problem, name), "Tool input parse error...\n")
        return with_observation(step, failure(text), style, error=text)
    return Outgoing(step, ref, json.dumps(function.call_arguments(given), ensure_ascii=False))


def _parsed(arguments: str) -> dict[str, Any]:
    if len(arguments) > _LONGEST_ARGUMENTS:
        raise CallError(f"tool_input has more than {_LONGEST_ARGUMENTS} characters.")
    return parse_arguments(arguments)


def with_observation(step: Step, observation: str, style: ObservationStyle, **more: Any) -> Step:
    """The step with its observation as the agent is shown it; ``more`` are further fields."""
    shown, is_cut = style.show(observation)
    return step.model_copy(update={"observation": shown, "truncated": is_cut, **more})


def finish_arguments(answer: Any) -> str:
    """The arguments of ``Finish`` that hand in an answer; None and "" give up.

    Raises:
        FormatError: the answer is something that JSON cannot hold.
    """
    if answer is None or answer == "":
        return json.dumps({"return_type": GIVE_UP})
    try:
        text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as problem:
        raise FormatError(
            f"The answer is neither text nor what JSON can hold: {problem}.", hint="Return text."
        ) from None
    return json.dumps({"return_type": GIVE_ANSWER, "final_answer": text}, ensure_ascii=False)


def finish_step(arguments: str, style: ObservationStyle = PLAIN) -> tuple[Step, Finished | None]:
    """A call of ``Finish``, and what it means.

    Where it means nothing, the step's observation says what is wrong.
    """
    step = Step(function=FINISH, arguments=arguments)
    read = read_finish(step.arguments)
    if isinstance(read, Finished):
        return step, read
    shown = style.word(failure(read), _published_finish_problem(arguments))
    return step.model_copy(update={"observation": shown, "error": read}), None


def _published_finish_problem(arguments: str) -> str:
    """What the published client writes for a ``Finish`` that means nothing; it is not JSON."""
    try:
        given = parse_arguments(arguments)
    except CallError:
        given = {}
    if "return_type" not in given:
        return '{error:"must have "return_type""}'
    if given["return_type"] != GIVE_ANSWER:
        return '{error:""return_type" is not a valid choice"}'
    return '{error:"must have "final_answer""}'


@dataclass(frozen=True)
class Finished:
    """What a call of ``Finish`` means: ``stop`` is answered or gave up.

    An episode can end in other ways, and its answer can come from elsewhere.
    """

    stop: StopReason
    final_answer: str = ""
    answer_source: AnswerSource = ""


def read_finish(arguments: str) -> Finished | str:
    """The meaning of the arguments of ``Finish``, or what is wrong with them."""
    try:
        given = parse_arguments(arguments)
    except CallError as problem:
        return describe_argument_problem(problem, FINISH)
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


def truncate(text: str, limit: int) -> str:
    """The rule for long observations: the first ``limit`` characters, and how many there were."""
    return text if len(text) <= limit else f"{text[:limit]}… [{limit} of {len(text)} characters]"


def describe_argument_problem(problem: CallError, function: str) -> str:
    """What is wrong with arguments, in words for the one who wrote them."""
    return problem.message.replace("tool_input", f"The argument text of {function}")


def failure(message: str) -> str:
    """An observation in the form of a tool's answer."""
    return json.dumps({"error": message, "response": ""}, ensure_ascii=False)
