"""Failures that pass, inside a body that came with success: the same call, later or by someone else, is answered.

A service is overloaded, a quota is used up, a key is not accepted, a part behind it does not respond. Such a body
is told from "there is no such film" by its structure first: it holds a report and no data. Then one of its members
has to say so, by a code or a sentence that has no other meaning. Words inside data are never looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stb_server.upstream.failure_codes import is_failure_code
from stb_server.upstream.failure_sentences import is_failure_sentence
from stb_server.upstream.failure_shapes import is_bare, is_report_member, plain_name

# Members that hold an error; what lies within them describes it, whatever its name.
_ERRORS = frozenset({"error", "errors", "err", "fault", "exception"})
# What reports have beside the members that ``failure_shapes`` knows, and those that begin with "error".
_MORE = frozenset(
    {
        *("note", "information", "faultstring", "cod", "errno", "exception", "faultcode", "istransient"),
        *("retryafter", "global", "estimatedtime", "parameters", "get", "jsonrpc", "id", "termsofuse"),
        *(
            "locations",
            "extensions",
            "warnings",
            "htmlattributions",
            "trace",
            "stacktrace",
            "documentationurl",
        ),
        *("moreinfo", "helpurl", "docsurl", "support", "fbtraceid", "param", "provider"),
    }
)
# Members that hold what was asked for; empty, zero or null they hold nothing.
_DATA = frozenset({"data", "result", "results", "response", "items", "count", "total", "payload"})
_NO = frozenset({"0", "false", "no", "error", "err", "fail", "failed", "failure", "notok", "nok"})
_STATUSES = frozenset({"status", "statuscode", "code", "httpcode", "httpstatus", "errorcode", "cod"})
# What was wrong, where another member says that something was.
_SAID = frozenset({"message", "msg", "detail", "info", "description"})
_DEEPEST = 4


def passing_failure(body: Any) -> str | None:
    """What in a decoded body shows that it is a failure that passes; None if it may be an answer."""
    found = None
    for one in body if isinstance(body, list) else [body]:
        report = _Report()
        try:
            report.read(one if isinstance(one, Mapping) else {"data": one})
        except _NotAReportError:
            return None
        if (found := report.evidence) is None:
            return None
    return found


class _NotAReportError(Exception):
    """The body holds anything but a report."""


@dataclass
class _Report:
    """What a body without data says: (name of the member, text, whether it describes an error)."""

    texts: list[tuple[str, str, bool]] = field(default_factory=list)
    is_transient: bool = False
    """Whether it says so by a member of its own."""

    def read(self, body: Mapping[Any, Any], *, within_error: bool = False, depth: int = 0) -> None:
        """Add what an object says.

        Raises:
            _NotAReportError: it holds data, or is nested too deep.
        """
        if depth > _DEEPEST:
            raise _NotAReportError
        says_no = any(_is_no(plain_name(name), item) for name, item in body.items())
        for name, item in body.items():
            plain = plain_name(name)
            self.is_transient |= plain == "istransient" and item is True
            if plain in _ERRORS or within_error:
                self._add_error(plain, item, depth)
            elif plain in _DATA:
                self._add_data(plain, item, says_no=says_no)
            elif is_report_member(plain) or plain in _MORE or plain.startswith(("error", "retry", "reset")):
                self._add_member(plain, item, depth, says_no=says_no)
            # A bare false may be the answer: whether a port is open, a card valid, a name free.
            elif item is False or not _is_hollow(item):
                raise _NotAReportError

    def _add_error(self, name: str, item: Any, depth: int) -> None:
        """Add all texts within a member that describes an error."""
        if isinstance(item, str):
            self.texts.append((name, item, True))
        elif isinstance(item, Mapping):
            self.read(item, within_error=True, depth=depth + 1)
        elif isinstance(item, list) and depth <= _DEEPEST:
            for part in item:
                self._add_error(name, part, depth + 1)

    def _add_data(self, name: str, item: Any, *, says_no: bool) -> None:
        if isinstance(item, str) and says_no:  # what was wrong, in the place of the data
            self.texts.append((name, item, False))
        elif not (_is_hollow(item) or _is_no(name, item)):
            raise _NotAReportError

    def _add_member(self, name: str, item: Any, depth: int, *, says_no: bool) -> None:
        if isinstance(item, Mapping):
            self.read(item, within_error=name.startswith(("error", "detail")), depth=depth + 1)
        elif isinstance(item, str):
            self.texts.append((name, item, name.startswith("error") or (says_no and name in _SAID)))
        elif isinstance(item, list) and name not in _MORE:
            if not all(isinstance(text, str) for text in item):
                raise _NotAReportError
            self.texts += [(name, text, False) for text in item]

    @property
    def evidence(self) -> str | None:
        """What shows that a failure passes, if anything does."""
        for name, text, of_error in self.texts:
            code = "" if " " in text else plain_name(text.rsplit(".", maxsplit=1)[-1])
            is_status = of_error and name in _STATUSES and text.isdecimal() and _is_passing(text)
            if (
                is_status
                or is_failure_code(code, of_error=of_error)
                or is_failure_sentence(text, of_error=of_error)
            ):
                return text
        return "is_transient" if self.is_transient else None


def _is_passing(status: str) -> bool:
    return status in {"401", "403", "429"} or (len(status) == 3 and status.startswith("5"))


def _is_no(plain: str, item: Any) -> bool:
    """Whether a member says that the call failed."""
    if plain in {"success", "ok"}:
        return item is False or item == 0 or str(item).casefold() in _NO
    if plain == "error":
        return item is True or (isinstance(item, str) and item != "")
    return plain in {"status", "message", "response", "result", "s"} and str(item).casefold() in _NO


def _is_hollow(item: Any) -> bool:
    """Whether a value holds nothing, at any depth."""
    if is_bare(item) or item is False or item == 0:
        return True
    if isinstance(item, Mapping):
        return all(map(_is_hollow, item.values()))
    return isinstance(item, list) and all(map(_is_hollow, item))
