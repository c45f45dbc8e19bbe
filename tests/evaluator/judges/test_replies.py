"""A reply is a verdict or unreadable; there is nothing in between."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stb_core.errors import UnreadableReplyError
from stb_core.values.verdicts import Status
from stb_evaluator.judges.replies import (
    VERDICT_SCHEMA,
    ReadVerdict,
    find_reply,
    read_correctness,
    read_preference,
    read_solvability,
    read_verdict,
)


@pytest.mark.parametrize("word", ["solved", "unsure", "unsolved"])
def test_a_verdict_is_read_from_its_field(word: str) -> None:
    """Whatever words stand in the reason."""
    reply = json.dumps({"reason": "Solved, for no part was left unsolved.", "answer_status": word})

    assert read_verdict(reply) == ReadVerdict(Status(word), "Solved, for no part was left unsolved.")


@pytest.mark.parametrize(
    "reply",
    [
        '{"reason": "fine", "answer_status": "Solved"}',
        '{"reason": "fine", "answer_status": " SOLVED\\n"}',
        '{"reason": "fine", "answer_status": "\u200bsolved"}',
        '{"reason": "fine", "Answer Status": "Solved"}',
        '{"reason": "fine", "answer_status": "solved", "confidence": 1}',
        '{"reason": "fine", "answer_status": "solved", "status": "Solved"}',
    ],
)
def test_case_and_further_members_make_no_difference(reply: str) -> None:
    """The word in the member asked for is the verdict."""
    assert read_verdict(reply) == ReadVerdict(Status.SOLVED, "fine")


def test_a_verdict_needs_no_reason() -> None:
    """Then the reason is empty."""
    assert read_verdict('{"answer_status":"solved","confidence":1}') == ReadVerdict(Status.SOLVED, "")


@pytest.mark.parametrize(
    ("read", "reply", "status"),
    [
        (read_correctness, '{"answer_status": "Unsolved", "score": 0}', Status.UNSOLVED),
        (read_preference, '{"better": "First", "reason": "x", "margin": 2}', Status.SOLVED),
        (read_solvability, '{"reason": "x", "task_status": "UNSOLVABLE", "tools": []}', Status.UNSOLVED),
    ],
)
def test_every_role_reads_alike(read: Callable[[str], ReadVerdict], reply: str, status: Status) -> None:
    """Correctness, preference and solvability as pass verdicts."""
    assert read(reply).status is status


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('Here: {"answer_status": "Solved"} Thanks.', "Solved"),
        ('```json\n{"answer_status": "solved", "confidence": 1}\n```', "solved"),
        ('{"answer_status": "solved"} Once more: {"answer_status": "SOLVED"}', "SOLVED"),
        ('<think>{"answer_status": "unsolved"}? No.</think>\n{"answer_status": "solved"}', "solved"),
        ('{"answer_status": "unsolved"}? No.</think>{"answer_status": "solved"}', "solved"),
        ('{"reason": "It says <think>.", "answer_status": "solved"}', "solved"),
        ('<think>Perhaps {"reason": "", "answer_status": "solved"}', None),
        ('{"answer_status": "solved"} No: {"reason": "", "answer_status": "Unsolved"}', None),
        ('For example {"reason": "", "answer_status": "solved"}. {"answer_status": "partly"}', None),
        ("solved", None),
    ],
)
def test_a_decision_is_found_among_words_and_thoughts(text: str, found: str | None) -> None:
    """Decisions that differ, or one that is unreadable, make the reply unreadable."""
    value = find_reply(text, VERDICT_SCHEMA)

    assert (value and value["answer_status"]) == found


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Answer Status: Solved",
        'Here you are: {"reason": "", "answer_status": "solved"}',
        '```json\n{"reason": "", "answer_status": "solved"}\n```',
        '{"reason": "", "answer_status": "solved"} {"reason": "", "answer_status": "unsolved"}',
        '{"reason": "", "answer_status": "unsolved", "answer_status": "solved"}',
        '{"reason": "", "answer_status": "error"}',
        '{"reason": "", "answer_status": ["solved"]}',
        '{"reason": "", "answer_status": true}',
        '{"reason": null, "answer_status": "solved"}',
        '{"reason": "", "answer_status": "mostly solved"}',
        '{"answer_status": "solved", "Answer Status": "unsolved"}',
        '{"answer_status": "solved", "status": "Unsolved"}',
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
