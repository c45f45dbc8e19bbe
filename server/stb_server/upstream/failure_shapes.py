"""How web servers and API gateways report failures: status lines, error pages, bare reports."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

_REASONS = {s.value: {s.phrase.casefold()} for s in HTTPStatus if s >= 400}
for _code, _wording in (
    *((404, "page not found"), (500, "server error")),
    # Old and new names of the same status; Python's version decides which of them it knows.
    *((413, "payload too large"), (413, "content too large"), (422, "unprocessable content")),
):
    _REASONS[_code].add(_wording)
# Without its number, a single word such as "Gone" may mean anything.
_BARE_REASONS = frozenset(
    reason
    for reasons in _REASONS.values()
    for reason in reasons
    if " " in reason or reason in {"forbidden", "unauthorized"}
)
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


def is_status_line(text: str) -> bool:
    """Whether ``text`` is the reason of an HTTP error, or begins with its number and its reason."""
    plain = " ".join(text.casefold().split()).rstrip(".!")
    if plain in _BARE_REASONS:
        return True
    numbered = _NUMBERED.match(plain)
    if not numbered:
        return False
    words = numbered[2].strip()
    return any(
        words == reason or words.startswith(f"{reason} ") for reason in _REASONS.get(int(numbered[1]), ())
    )


def is_page(text: str) -> bool:
    """Whether a text is an HTML document."""
    return _HTML.match(text[:_PAGE_HEAD]) is not None


def error_page(text: str) -> str | None:
    """The title that shows that a text is a server's own error or redirection page; None if it is not one."""
    if _REDIRECT.fullmatch(text):
        return text
    head = text[:_PAGE_HEAD]
    if not is_page(head):
        return None
    titles = [title.strip() for _, title in _TITLE.findall(head)]
    status_title = next((title for title in titles if is_status_line(title)), None)
    return status_title or (text if _NO_ROUTE.search(head) else None)


# What error reports consist of: a status, a sentence, and circumstances of the request.
_STATUS_MEMBERS = frozenset({"status", "statuscode", "code", "httpcode", "httpstatus", "errorcode"})
_GATEWAY_MEMBERS = frozenset({"message", "messages", "msg", "error", "detail", "info", "errormessage"})
_FAILURE_MEMBERS = _GATEWAY_MEMBERS | {
    *("mesg", "errors", "err", "details", "fault"),
    *("statusmessage", "statustxt", "statustext", "statusmsg"),
}
_SENTENCE_MEMBERS = _FAILURE_MEMBERS | {"title", "reason", "description"}
_CIRCUMSTANCES = frozenset(
    {
        *("success", "ok", "iserror", "timestamp", "time", "path", "documentation", "docs", "help", "link"),
        *("type", "instance", "traceid", "requestid", "responseid", "errorid"),
    }
)
# Members beside which a title is that of a problem (RFC 9457).
_PROBLEM_MEMBERS = frozenset({"type", "instance", "detail", "traceid"})
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
    r"endpoint '?/\S*'? does not exist\.?",
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


class ErrorReport(NamedTuple):
    """An object that is an error report and nothing else: sentences by member, and declared statuses."""

    sentences: list[tuple[str, str]]
    statuses: list[int]
    members: frozenset[str]

    @property
    def gateway_sentence(self) -> str | None:
        """The sentence that an API gateway sends in an API's place, if it holds one."""
        sentences = (text for name, text in self.sentences if name in _GATEWAY_MEMBERS)
        return next((text for text in sentences if _GATEWAY_SENTENCE.fullmatch(text)), None)

    @property
    def declared_failure(self) -> str | None:
        """The failed status that it declares, with the sentence of the failure, if it does."""
        failure_members = _FAILURE_MEMBERS | ({"title"} if self.members & _PROBLEM_MEMBERS else set())
        sentence = next((text for name, text in self.sentences if name in failure_members), None)
        failed = next((status for status in self.statuses if status in _FAILED), None)
        return None if sentence is None or failed is None else f"{failed} {sentence}"


def read_report(body: Mapping[Any, Any]) -> ErrorReport | None:
    """An object as an error report; None if it has a member that holds anything else."""
    holders = [item for name, item in body.items() if plain_name(name) in _HOLDERS and isinstance(item, dict)]
    members = [(name, item) for part in (body, *holders) for name, item in part.items()]
    if not all(is_report_member(name) or is_bare(item) for name, item in members):
        return None
    sentences = [
        (plain_name(name), item.strip())
        for name, item in members
        if plain_name(name) in _SENTENCE_MEMBERS and isinstance(item, str) and len(item) <= _LONGEST_SENTENCE
    ]
    statuses = [
        item
        for name, item in members
        if plain_name(name) in _STATUS_MEMBERS and isinstance(item, int) and not isinstance(item, bool)
    ]
    return ErrorReport(sentences, statuses, frozenset(plain_name(name) for name, _ in members))


def plain_name(name: Any) -> str:
    """The name of a member without case, underscores, hyphens and blanks."""
    return str(name).casefold().replace("_", "").replace("-", "").replace(" ", "")


def is_report_member(name: Any) -> bool:
    """Whether a member of this name belongs to an error report."""
    plain = plain_name(name)
    return (
        plain in _STATUS_MEMBERS or plain in _SENTENCE_MEMBERS or plain in _CIRCUMSTANCES or plain == "meta"
    )


def is_bare(item: Any) -> bool:
    """Whether a value is null or empty."""
    return item is None or item in ("", [], {})
