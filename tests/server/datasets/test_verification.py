"""Recorded answers are judged again, and compared with a word filter."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import orjson
import pytest

from hostile import LITERALS
from stb_core.store.responses import Response
from stb_core.values.calls import ToolCall
from stb_core.values.provenance import Provenance
from stb_server.datasets.verification import (
    ReviewSummary,
    ReviewTally,
    older_filter_would_drop,
    review_response,
)
from stb_server.upstream.answer_quality import Rule


def recorded(body: bytes, n: int = 0) -> Response:
    call = ToolCall("Data", "tool", "api", {"n": n})
    return Response(call.key, *(call.category, call.tool, call.api), b"{}", body, Provenance.RECORDED)


def summary_of(responses: Iterable[Response]) -> ReviewSummary:
    tally = ReviewTally()
    for response in responses:
        tally.add(review_response(response))
    return tally.summary()


@pytest.mark.parametrize(
    ("response", "error", "word"),
    [
        ({"price": 1}, "", None),
        ({"price": 500}, "", "500"),
        ({"url": "https://example.com"}, "", "http"),
        ({"text": "A Parameter"}, "", "parameter"),
        ("Service Not Found", "", "Service Not Found"),
        ("service not found", "", None),
        ("", "", "no text"),
        ({"price": 1}, "Message error...", "error field"),
        ({"price": 1}, None, "error field"),
    ],
)
def test_the_older_filter_goes_by_words(response: object, error: object, word: str | None) -> None:
    """It drops an answer for a digit or a word anywhere in it."""
    assert word == older_filter_would_drop(response, error)


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b'{"error":"","response":{"price":500}}', Rule.DATA),
        (b'{"error":"Rate limit error...","response":""}', Rule.ERROR_FIELD),
        (b'{"response":""}', Rule.EMPTY),
        (b'{"price":500}', Rule.DATA),
        (b"not json \xff", Rule.DATA),
        (b"", Rule.EMPTY),
    ],
)
def test_a_stored_body_is_judged_whatever_its_form(body: bytes, rule: Rule) -> None:
    """ToolBench's envelope is opened; anything else is judged as it is."""
    assert rule is review_response(recorded(body)).verdict.rule


def test_the_summary_counts_what_a_word_filter_would_lose() -> None:
    """Usable answers that the older filter drops are counted by the word that it drops them for."""
    bodies = [{"a": 1}, {"a": 500}, {"a": "blocked"}, "", {"message": "Too many requests"}]
    found = [recorded(orjson.dumps({"error": "", "response": body}), n) for n, body in enumerate(bodies)]

    summary = summary_of(found)

    assert (5, 2) == (summary.n, summary.unusable)
    assert {"500": 1, "blocked": 1, "no text": 1} == summary.older_by_word
    assert {"500": 1, "blocked": 1} == summary.wrongly_by_word


def test_a_word_filter_would_lose_a_fifth_of_the_real_release(real_data: Path) -> None:
    """Of 2,478 recorded answers the rules decline 471; the older filter drops 519 of the other 2,007."""
    found = [
        recorded(orjson.dumps(answer))
        for file in sorted(real_data.glob("release/tool_response_cache/*/*/*.json"))
        for answer in json.loads(file.read_text(encoding="utf-8")).values()
    ]

    summary = summary_of(found)

    assert (2478, 471) == (summary.n, summary.unusable)
    assert (929, 519) == (summary.older_dropped, summary.wrongly_dropped)
    assert [("http", 304), ("parameter", 77), ("500", 37)] == list(summary.wrongly_by_word.items())[:3]


@pytest.mark.parametrize("text", LITERALS, ids=range(len(LITERALS)))
@pytest.mark.parametrize("error", ["", "Message error..."])
def test_any_text_can_be_judged(text: str, error: str) -> None:
    """What looks like a value in Python's notation, and is none; and the evidence can be printed."""
    found = review_response(recorded(json.dumps({"error": error, "response": text}).encode()))

    assert found.verdict.rule in Rule
    assert found.verdict.evidence.encode().decode() == found.verdict.evidence
