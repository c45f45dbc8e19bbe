"""A reply is a verdict or unreadable; there is nothing in between."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stb_core.errors import UnreadableReplyError
from stb_core.values.verdicts import Status
from stb_evaluator.judges.replies import ReadVerdict, read_verdict


@pytest.mark.parametrize("word", ["solved", "unsure", "unsolved"])
def test_a_verdict_is_read_from_its_field(word: str) -> None:
    """Whatever words stand in the reason."""
    reply = json.dumps({"reason": "Solved, for no part was left unsolved.", "answer_status": word})

    assert read_verdict(reply) == ReadVerdict(Status(word), "Solved, for no part was left unsolved.")


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Answer Status: Solved",
        'Here you are: {"reason": "", "answer_status": "solved"}',
        '```json\n{"reason": "", "answer_status": "solved"}\n```',
        '{"reason": "", "answer_status": "solved"} {"reason": "", "answer_status": "unsolved"}',
        '{"reason": "", "answer_status": "unsolved", "answer_status": "solved"}',
        '{"reason": "", "answer_status": "Solved"}',
        '{"reason": "", "answer_status": "error"}',
        '{"reason": "", "answer_status": ["solved"]}',
        '{"reason": "", "answer_status": true}',
        '{"reason": null, "answer_status": "solved"}',
        '{"answer_status": "solved"}',
        '{"reason": "", "answer_status": "solved", "confidence": 1}',
        '{"reason": NaN, "answer_status": "solved"}',
        '{"reason": "", "answer_status": "solved"',
        '["solved"]',
        "null",
        "[" * 100_000,
        '{"reason": "' + "x" * 200_000 + '", "answer_status": "solved"}',
        '{"reason": "\x00", "answer_status": "solved"}',
        '{"reason": "\\ud800", "answer_status": "solved"}',
    ],
)
def test_anything_else_is_unreadable(reply: str) -> None:
    """No reply is guessed at."""
    with pytest.raises(UnreadableReplyError):
        read_verdict(reply)


@given(st.text())
def test_no_reply_breaks_the_reader(reply: str) -> None:
    """It is a verdict or unreadable."""
    with pytest.raises(UnreadableReplyError):
        read_verdict(reply)
