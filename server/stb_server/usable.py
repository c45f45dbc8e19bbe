"""Whether a real answer is worth keeping: judged by its structure, never by digits or words in its data.

An answer is turned down only on evidence of one of these kinds: the HTTP status, ToolBench's labels
in the ``error`` field, emptiness, or the whole body being a known envelope of a gateway or web
server (a status line, an error page, a report that holds a status and a sentence and no data).
An API that says "no such film" has answered; so has one whose data is an empty list.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Any

import orjson


class Rule(StrEnum):
    """What decided; the first two keep an answer, the others turn it down."""

    DATA = "data"
    """Nothing speaks against it."""
    DATA_DESPITE_LABEL = "data_despite_label"
    """ToolBench labelled it for a word that it found inside, and the body carries data."""
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


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an answer is worth keeping, by which rule, and what was seen (one short line)."""

    rule: Rule
    evidence: str = ""

    @property
    def usable(self) -> bool:
        """Whether to keep it."""
        return self.rule in {Rule.DATA, Rule.DATA_DESPITE_LABEL}


def judge(
    response: Any,
    *,
    error: Any = "",
    status: int | None = None,
    promises_json: bool = False,
) -> Verdict:
    """Judge one real answer.

    Args:
        response: decoded JSON, or text; ToolBench's proxy writes JSON and Python notation as text.
        error: ToolBench's ``error`` field.
        status: the HTTP status, None where the protocol hides it.
        promises_json: the API is documented to answer in JSON.
    """
    if status is not None and not 200 <= status < 300:
        return _verdict(Rule.STATUS, f"HTTP {status}")
    value = _decoded(response)
    if error not in ("", None, False):
        return _judge_label(str(error), response, value)
    if value is None or (isinstance(value, str) and not value.strip("\ufeff \t\r\n")):
        return _verdict(Rule.EMPTY, "no body" if status is None else f"HTTP {status} without a body")
    if isinstance(value, str):
        return _judge_text(value.strip("\ufeff \t\r\n"), status, promises_json=promises_json)
    if isinstance(value, dict):
        return _judge_report(value)
    return Verdict(Rule.DATA)


# --- the error field -----------------------------------------------------------------------------

# ToolBench's proxy gives these labels when "error" or "unauthorized" occurs anywhere in a body, so
# they say nothing about a body that carries data.
_WORD_LABELS = frozenset({"Message error...", "Unauthorized error..."})
# The proxy cuts long bodies, so that they no longer parse; what was cut was no short report.
_CUT_LENGTH = 1_000


def _judge_label(label: str, response: Any, value: Any) -> Verdict:
    if label.strip() in _WORD_LABELS and _carries_data(response, value):
        return _verdict(Rule.DATA_DESPITE_LABEL, label)
    return _verdict(Rule.ERROR_FIELD, label)


def _carries_data(response: Any, value: Any) -> bool:
    if isinstance(value, dict):
        inner = next(iter(value.values())) if len(value) == 1 else None
        if isinstance(inner, dict):
            return _carries_data(response, inner)
        return any(not _is_report_member(name) and not _is_bare(item) for name, item in value.items())
    if isinstance(value, list):
        return any(not isinstance(item, str) for item in value)
    return isinstance(response, str) and len(response) >= _CUT_LENGTH and response.lstrip()[:1] in {"{", "["}


# --- text and pages ------------------------------------------------------------------------------

_REASONS = {s.value: {s.phrase.casefold()} for s in HTTPStatus if s >= 400}
for _code, _wording in ((404, "page not found"), (500, "server error"), (413, "payload too large")):
    _REASONS[_code].add(_wording)
_ALL_REASONS = frozenset(reason for reasons in _REASONS.values() for reason in reasons)
_NUMBERED = re.compile(r"(?:http/\d(?:\.\d)?\s+|error\s+)?([45]\d\d)\s*[-:]?\s*([a-z' -]+)", re.IGNORECASE)
_HTML = re.compile(
    r"\s*(?:<!--.*?-->\s*|<\?xml[^>]*>\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
_TITLE = re.compile(r"<(title|h1)[^>]*>(.*?)</\1\s*>", re.IGNORECASE | re.DOTALL)
_NO_ROUTE = re.compile(r"<pre>Cannot (?:GET|POST|PUT|PATCH|DELETE) /[^<]*</pre>", re.IGNORECASE)
_REDIRECT = re.compile(
    r'<a href="[^"]*">(?:Moved Permanently|Found|See Other|Temporary Redirect|Permanent Redirect)</a>\.'
)
_PAGE_HEAD = 4_096


def _judge_text(text: str, status: int | None, *, promises_json: bool) -> Verdict:
    if _HTML.match(text[:_PAGE_HEAD]):
        if promises_json:
            return _verdict(Rule.HTML_FOR_JSON, text)
        head = text[:_PAGE_HEAD]
        titles = [title.strip() for _, title in _TITLE.findall(head)]
        found = next((title for title in titles if _is_status_line(title)), None)
        if found is not None or _NO_ROUTE.search(head):
            return _verdict(Rule.ERROR_PAGE, found or text)
        return Verdict(Rule.DATA)
    if _REDIRECT.fullmatch(text):
        return _verdict(Rule.ERROR_PAGE, text)
    # A success with this text may be data, a translation for instance; an unknown status may not.
    if status is None and "\n" not in text and _is_status_line(text):
        return _verdict(Rule.STATUS_LINE, text)
    return Verdict(Rule.DATA)


def _is_status_line(text: str) -> bool:
    """Whether ``text`` is the reason of an HTTP error, or begins with its number and its reason."""
    plain = " ".join(text.casefold().split()).rstrip(".!")
    if plain in _ALL_REASONS:
        return True
    numbered = _NUMBERED.match(plain)
    if not numbered:
        return False
    said = numbered[2].strip()
    return any(
        said == reason or said.startswith(f"{reason} ") for reason in _REASONS.get(int(numbered[1]), ())
    )


# --- reports -------------------------------------------------------------------------------------

# What error reports consist of: a status, a sentence, and circumstances of the request.
_STATUS_MEMBERS = frozenset({"status", "statuscode", "code", "httpcode", "httpstatus", "errorcode"})
_SENTENCE_MEMBERS = frozenset(
    {
        "message",
        "messages",
        "msg",
        "mesg",
        "error",
        "errors",
        "err",
        "errormessage",
        "detail",
        "details",
        "title",
    }
    | {"statusmessage", "statustxt", "statustext", "statusmsg", "reason", "description", "info", "fault"}
)
_CIRCUMSTANCES = frozenset(
    {"success", "ok", "iserror", "type", "instance", "timestamp", "time", "path", "traceid", "requestid"}
    | {"responseid", "errorid", "documentation", "docs", "help", "link"}
)
# Members that hold data, or another report.
_HOLDERS = ("error", "meta", "status", "fault")
_FAILED = frozenset({401, 403, 429, *range(500, 600)})

# Sentences of RapidAPI's gateway, of ToolBench's account on it, of Amazon's and Azure's API
# gateways and of Kong; each is the whole text of a member of the report.
_GATEWAY_SENTENCES = (
    r"you are not subscribed to this api\.?",
    r"too many requests\.?",
    r"you have exceeded the (daily|monthly|hourly|yearly|rate|[\w-]+) (quota|limit)\b.*",
    r"the request to the api (is invalid for an unsupported reason|has timed out)\b.*",
    r"the api (is unreachable|did not respond)\b.*",
    r"base url is missing or is not configured properly\.?",
    r"api doesn'?t exists?\.?",
    r"endpoint '?/\S*'? does ?n[o']t exist\.?",
    r"endpoint ?/\S* does not exist\.?",
    r"this endpoint is disabled for your subscription\.?",
    r"invalid api key\. go to https://docs\.rapidapi\.com/\S+ for more info\.?",
    r"oops, an error in the gateway has occurred\.?",
    r"blocked user\. please contact your api provider\.?",
    r"access restricted\. check credits balance or enter the correct api key\.?",
    r".*client \(working\) -+> gateway \(working\) -+> api \(not working\).*",
    r"deprecated_endpoint",
    r"missing authentication token",
    r"forbidden",
    r"unauthorized",
    r"limit exceeded",
    r"internal server error",
    r"service unavailable",
    r"endpoint request timed out",
    r"no route matched with those values",
    r"no api key found in request",
    r"invalid authentication credentials",
    r"api rate limit exceeded",
    r"an invalid response was received from the upstream server",
    r"the upstream server is timing out",
    r"name resolution failed",
    r"failure to get a peer from the ring-balancer",
    r"access denied due to (missing|invalid) subscription key\b.*",
)
_GATEWAY_SENTENCE = re.compile("|".join(_GATEWAY_SENTENCES), re.IGNORECASE | re.DOTALL)
_LONGEST_SENTENCE = 500


def _judge_report(body: Mapping[str, Any]) -> Verdict:
    if not body or not all(_is_report_member(name) or _is_bare(item) for name, item in body.items()):
        return Verdict(Rule.DATA)
    parts = [
        body,
        *(body[name] for name in body if _plain(name) in _HOLDERS and isinstance(body[name], dict)),
    ]
    if not all(_is_report_member(name) or _is_bare(item) for part in parts for name, item in part.items()):
        return Verdict(Rule.DATA)
    sentences = [
        item
        for part in parts
        for name, item in part.items()
        if _plain(name) in _SENTENCE_MEMBERS and isinstance(item, str) and len(item) <= _LONGEST_SENTENCE
    ]
    for sentence in sentences:
        if _GATEWAY_SENTENCE.fullmatch(sentence.strip()):
            return _verdict(Rule.GATEWAY_MESSAGE, sentence)
    declared = [
        item
        for part in parts
        for name, item in part.items()
        if _plain(name) in _STATUS_MEMBERS and isinstance(item, int) and not isinstance(item, bool)
    ]
    if sentences and any(item in _FAILED for item in declared):
        return _verdict(Rule.DECLARED_STATUS, f"{max(declared)} {sentences[0]}")
    return Verdict(Rule.DATA)


def _plain(name: Any) -> str:
    return str(name).casefold().replace("_", "").replace("-", "").replace(" ", "")


def _is_report_member(name: Any) -> bool:
    plain = _plain(name)
    return (
        plain in _STATUS_MEMBERS or plain in _SENTENCE_MEMBERS or plain in _CIRCUMSTANCES or plain == "meta"
    )


def _is_bare(item: Any) -> bool:
    return item is None or item in ("", [], {})


# --- reading -------------------------------------------------------------------------------------

_EVIDENCE_LENGTH = 120


def _verdict(rule: Rule, evidence: str) -> Verdict:
    line = " ".join(evidence.split())
    return Verdict(rule, line if len(line) <= _EVIDENCE_LENGTH else f"{line[: _EVIDENCE_LENGTH - 1]}…")


def _decoded(response: Any) -> Any:
    """What a text says when it is JSON or Python notation of a dict, a list, None or bytes."""
    if not isinstance(response, str):
        return response
    text = response.strip("\ufeff \t\r\n")
    if not text.startswith(("{", "[", "null", "None", "b'", 'b"', '""', "''")):
        return response
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    if len(text) > _PAGE_HEAD:  # reports are short
        return response
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes that Python no longer likes
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return response
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
