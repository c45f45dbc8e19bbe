r"""A simulator's answer: its two text forms, and which kind of outcome it reports.

The published figures of MirrorAPI-Bench were computed on ``ERROR: …\nRESPONSE: …``. Output that is not JSON
was read by a pattern: the error up to the first quote, the response up to the end of the text, closing marks
included; without a match both count as ``None``. Half of the outputs are not JSON, so the form changes the score
by up to 2 points. Therefore a score names its form.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from stb_server.simulators import Reading, decode_response, read_object

_PATTERN = re.compile(r'"error"\s*:\s*"([^"]*)"\s*,\s*"response"\s*:\s*"(.*)', re.DOTALL)


class AnswerOutcome(StrEnum):
    """The kind of outcome that an answer reports, as ToolBench's servers word it."""

    OK = "ok"
    UNEXPECTED_ARGUMENT = "unexpected_argument"
    MISSING_ARGUMENT = "missing_argument"
    UNPARSED_INPUT = "unparsed_input"
    API_ERROR = "api_error"
    """The API answered with an error of its own."""
    OTHER_ERROR = "other_error"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class RawAnswer:
    """One answer as text, from a model or from a recording."""

    text: str

    @cached_property
    def is_strict(self) -> bool:
        """Whether the text is one JSON object without repair."""
        return isinstance(_loads(self.text), dict)

    @cached_property
    def reading(self) -> Reading:
        """The object in the text after repair, or why there is none."""
        return read_object(self.text)

    @cached_property
    def fields(self) -> tuple[str, Any] | None:
        """(error, response) after repair; None when the text cannot be used."""
        body = self.reading.body
        if body is None or "response" not in body or not isinstance(body.get("error"), str):
            return None
        return body["error"], body["response"]

    @cached_property
    def released_form(self) -> str:
        """The text on which the published figures were computed."""
        value = _loads(self.text)
        if isinstance(value, dict):
            return f"ERROR: {value.get('error')}\nRESPONSE: {value.get('response')}"
        found = _PATTERN.search(self.text)
        error, response = found.groups() if found else (None, None)
        return f"ERROR: {error}\nRESPONSE: {response}"

    @cached_property
    def served_form(self) -> str:
        """The text, in the same form, of what a client would get after repair; "" where repair fails."""
        if self.fields is None:
            return ""
        error, response = self.fields
        shown = response if isinstance(response, str) else json.dumps(response, ensure_ascii=False)
        return f"ERROR: {error}\nRESPONSE: {shown}"

    @cached_property
    def decoded(self) -> Any:
        """The response as data; None when the text cannot be used."""
        return None if self.fields is None else decode_response(self.fields[1])

    @cached_property
    def outcome(self) -> AnswerOutcome:
        """Which kind of outcome it reports."""
        if self.fields is None:
            return AnswerOutcome.UNREADABLE
        return outcome_of(self.fields[0])


def outcome_of(error: str) -> AnswerOutcome:
    """The kind of an error text; an empty one is success."""
    if not error.strip():
        return AnswerOutcome.OK
    for fragment, outcome in (
        ("got an unexpected keyword argument", AnswerOutcome.UNEXPECTED_ARGUMENT),
        ("required positional argument", AnswerOutcome.MISSING_ARGUMENT),
        ("Tool input parse error", AnswerOutcome.UNPARSED_INPUT),
        ("tool_input is not", AnswerOutcome.UNPARSED_INPUT),
        ("Message error", AnswerOutcome.API_ERROR),
    ):
        if fragment in error:
            return outcome
    return AnswerOutcome.OTHER_ERROR


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
