"""Assesses recorded answers again, and compares that with the word filter of older servers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from stb_core.values import ApiRef
from stb_server.upstream import Quality, Rule, assess

# The virtual server published with the StableToolBench data kept a real answer only if none of these words
# occurred anywhere in its Python notation: the first list in any case, the second exactly as written.
_WORDS_IN_ANY_CASE = (
    *("http", "connection", "rate limit", "time out", "timed out", "does not exist", "internal error"),
    *("404", "504", "500", "401", "403"),
    *("authoriz", "authenticat", "unauthenticated", "credential", "unsubscribe", "blocked"),
    *("disabled for your subscription", "parameter", "parse", "is not defined"),
)
_WORDS_AS_WRITTEN = ("Service Not Found", "ACCESS_DENIED", "status_code=50", "status_code=429")
_WHOLE_TEXTS = ("{'message': \"API doesn't exists\"}",)


def older_filter_would_drop(response: Any, error: Any = "") -> str | None:
    """The word for which the filter of older servers would drop this answer; None if it would keep it.

    ``error field`` and ``no text`` stand for its two other reasons.
    """
    if error != "":
        return "error field"
    text = str(response)
    if not text:
        return "no text"
    lower = text.lower()
    for word in _WORDS_IN_ANY_CASE:
        if word in lower:
            return word
    return next((w for w in (*_WORDS_AS_WRITTEN, *_WHOLE_TEXTS) if w in text), None)


class StoredAnswer(Protocol):
    """What is needed of a stored response; both ``Response`` and ``Recording`` have it."""

    @property
    def key(self) -> str:
        """The call's key."""
        ...

    @property
    def category(self) -> str:
        """The API's category, like all names in standard form."""
        ...

    @property
    def tool(self) -> str:
        """The API's tool."""
        ...

    @property
    def api(self) -> str:
        """The API."""
        ...

    @property
    def body(self) -> bytes:
        """The exact bytes of the answer."""
        ...


@dataclass(frozen=True, slots=True)
class AnswerReview:
    """The assessment of one recorded answer, and the word for which the older filter drops it, if any."""

    key: str
    api: ApiRef
    verdict: Quality
    older_word: str | None

    def row(self) -> dict[str, Any]:
        """For a table."""
        return {
            "key": self.key,
            **self.api._asdict(),
            "usable": self.verdict.usable,
            "rule": self.verdict.rule.value,
            "evidence": self.verdict.evidence,
            "older_filter": self.older_word,
        }


@dataclass(frozen=True)
class ReviewSummary:
    """Counts over recorded answers; ``wrongly_dropped`` are usable answers that the older filter drops."""

    n: int
    by_rule: dict[str, int]
    older_dropped: int
    older_by_word: dict[str, int]
    wrongly_dropped: int
    wrongly_by_word: dict[str, int]

    @property
    def unusable(self) -> int:
        """How many answers are failures rather than data."""
        kept = self.by_rule.get(Rule.DATA, 0) + self.by_rule.get(Rule.DATA_DESPITE_LABEL, 0)
        return self.n - kept


def review_response(response: StoredAnswer) -> AnswerReview:
    """Judge one stored response; a body that is not ToolBench's envelope is judged as it is."""
    api = ApiRef(response.category, response.tool, response.api)
    try:
        body = orjson.loads(response.body)
    except orjson.JSONDecodeError:
        body = response.body.decode("utf-8", "replace")
    content, error = (body["response"], body.get("error")) if _is_envelope(body) else (body, "")
    return AnswerReview(
        response.key, api, assess(content, error=error), older_filter_would_drop(content, error)
    )


def _is_envelope(body: Any) -> bool:
    return isinstance(body, dict) and "response" in body and body.keys() <= {"response", "error"}


class ReviewTally:
    """Counts reviews one by one."""

    def __init__(self) -> None:
        self._rules: Counter[str] = Counter()
        self._words: Counter[str] = Counter()
        self._wrongly: Counter[str] = Counter()

    def add(self, finding: AnswerReview) -> None:
        """Count one."""
        self._rules[finding.verdict.rule.value] += 1
        if finding.older_word is not None:
            self._words[finding.older_word] += 1
            if finding.verdict.usable:
                self._wrongly[finding.older_word] += 1

    def summary(self) -> ReviewSummary:
        """The counts so far, the most frequent first."""
        return ReviewSummary(
            n=self._rules.total(),
            by_rule=dict(self._rules.most_common()),
            older_dropped=self._words.total(),
            older_by_word=dict(self._words.most_common()),
            wrongly_dropped=self._wrongly.total(),
            wrongly_by_word=dict(self._wrongly.most_common()),
        )
