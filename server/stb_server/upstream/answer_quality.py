"""Whether a real answer is worth keeping: assessed by its structure, never by digits or words in its data.

An answer is rejected only for one of these reasons: the HTTP status, ToolBench's labels
in the ``error`` field, emptiness, or the whole body being a known envelope of a gateway or web
server (a status line, an error page, a report that holds a status and a sentence and no data), or a report of
a failure that passes: a quota that is used up, a key that is not accepted, a service that does not respond.
An API that says "no such film" has answered; so has one whose data is an empty list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from stb_core.errors import FormatError
from stb_core.json_text import replace_surrogates
from stb_core.values import parse_literal
from stb_server.upstream.failure_sentences import is_failure_text
from stb_server.upstream.failure_shapes import (
    error_page,
    is_bare,
    is_page,
    is_report_member,
    is_status_line,
    read_report,
)
from stb_server.upstream.passing_failures import passing_failure


class Rule(StrEnum):
    """The rule that decided; the first two keep an answer, the others reject it."""

    DATA = "data"
    """No other rule applies."""
    DATA_DESPITE_LABEL = "data_despite_label"
    """ToolBench labelled it an error because of a word inside, but the body carries data."""
    STATUS = "status"
    """The HTTP status is not a success."""
    ERROR_FIELD = "error_field"
    """The ``error`` field says that the call failed."""
    EMPTY = "empty"
    """No body, white space, or null."""
    STATUS_LINE = "status_line"
    """The whole text is an HTTP status line such as ``404 page not found``."""
    HTML_FOR_JSON = "html_for_json"
    """A web page where the API is documented to answer in JSON."""
    ERROR_PAGE = "error_page"
    """A web server's own error or redirection page."""
    GATEWAY_MESSAGE = "gateway_message"
    """A report whose sentence is one that API gateways send in an API's place."""
    DECLARED_STATUS = "declared_status"
    """A report without data that declares status 401, 403, 429 or 5xx."""
    PASSING_FAILURE = "passing_failure"
    """A report without data of a limit, a key or an outage; or the text of a proxy in an API's place."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Whether an answer is worth keeping, by which rule, and what was seen (one short line)."""

    rule: Rule
    evidence: str = ""

    @property
    def usable(self) -> bool:
        """Whether to keep it."""
        return self.rule in {Rule.DATA, Rule.DATA_DESPITE_LABEL}


def assess(
    response: Any,
    *,
    error: Any = "",
    status: int | None = None,
    promises_json: bool = False,
) -> Quality:
    """Assess one real answer.

    Args:
        response: decoded JSON, or text; ToolBench's proxy writes JSON and Python notation as text.
        error: ToolBench's ``error`` field.
        status: the HTTP status, None if the protocol hides it.
        promises_json: the API is documented to answer in JSON.
    """
    if status is not None and not 200 <= status < 300:
        return _quality(Rule.STATUS, f"HTTP {status}")
    value = _decoded(response)
    if error not in ("", None, False):
        return _assess_label(str(error), response, value)
    if value is None or (isinstance(value, str) and not value.strip("\ufeff \t\r\n")):
        return _quality(Rule.EMPTY, "no body" if status is None else f"HTTP {status} without a body")
    if isinstance(value, str):
        return _assess_text(value.strip("\ufeff \t\r\n"), status, promises_json=promises_json)
    quality = _assess_report(value) if isinstance(value, dict) else Quality(Rule.DATA)
    if quality.usable and (said := passing_failure(value)) is not None:
        return _quality(Rule.PASSING_FAILURE, said)
    return quality


# ToolBench's proxy gives these labels when "error" or "unauthorized" occurs anywhere in a body, so
# they say nothing about a body that carries data.
_WORD_LABELS = frozenset({"Message error...", "Unauthorized error..."})
# The proxy cuts long bodies, so that they no longer parse; a body that was cut is not a short report.
_CUT_LENGTH = 1_000


def _assess_label(label: str, response: Any, value: Any) -> Quality:
    if label.strip() in _WORD_LABELS and _carries_data(response, value):
        return _quality(Rule.DATA_DESPITE_LABEL, label)
    return _quality(Rule.ERROR_FIELD, label)


def _carries_data(response: Any, value: Any) -> bool:
    if isinstance(value, dict):
        inner = next(iter(value.values())) if len(value) == 1 else None
        if isinstance(inner, dict):
            return _carries_data(response, inner)
        return any(not is_report_member(name) and not is_bare(item) for name, item in value.items())
    if isinstance(value, list):
        return any(not isinstance(item, str) for item in value)
    return isinstance(response, str) and len(response) >= _CUT_LENGTH and response.lstrip()[:1] in {"{", "["}


def _assess_text(text: str, status: int | None, *, promises_json: bool) -> Quality:
    if promises_json and is_page(text):
        return _quality(Rule.HTML_FOR_JSON, text)
    if (page := error_page(text)) is not None:
        return _quality(Rule.ERROR_PAGE, page)
    # With status 2xx this text may be data, for instance a translation; with an unknown status it is not.
    if status is None and "\n" not in text and is_status_line(text):
        return _quality(Rule.STATUS_LINE, text)
    if is_failure_text(text, knows_status=status is not None):
        return _quality(Rule.PASSING_FAILURE, text)
    return Quality(Rule.DATA)


def _assess_report(body: Mapping[Any, Any]) -> Quality:
    report = read_report(body)
    if report is None:
        return Quality(Rule.DATA)
    if (sentence := report.gateway_sentence) is not None:
        return _quality(Rule.GATEWAY_MESSAGE, sentence)
    if (declared := report.declared_failure) is not None:
        return _quality(Rule.DECLARED_STATUS, declared)
    return Quality(Rule.DATA)


_EVIDENCE_LENGTH = 120
_LONGEST_NOTATION = 4_096


def _quality(rule: Rule, evidence: str) -> Quality:
    line = replace_surrogates(" ".join(evidence.split()))  # a literal may hold half a character
    return Quality(rule, line if len(line) <= _EVIDENCE_LENGTH else f"{line[: _EVIDENCE_LENGTH - 1]}…")


def _decoded(response: Any) -> Any:
    """The value of a text that is JSON or Python notation of a dict, a list, None or bytes."""
    if not isinstance(response, str):
        return response
    text = response.strip("\ufeff \t\r\n")
    if not text.startswith(("{", "[", "null", "None", "b'", 'b"', '""', "''")):
        return response
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    if len(text) > _LONGEST_NOTATION:  # reports are short
        return response
    try:
        value = parse_literal(text)
    except FormatError:
        return response
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
