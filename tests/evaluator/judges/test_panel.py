"""A panel decides each round by majority, and is the same on every query."""

from __future__ import annotations

import pytest

from evaluator_makers import log
from stb_core.values.verdicts import Status
from stb_evaluator.judges.panel import Panel, PanelMember, majority_marks, panel_of_one


def cast(*members: str) -> dict[int, Status]:
    """The panel's status by round, from one string of letters a member."""
    marks = majority_marks([log({"1": letters})[1] for letters in members])
    return {mark.round: mark.status for mark in marks}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (("s", "s", "n"), Status.SOLVED),
        (("n", "u", "n"), Status.UNSOLVED),
        (("s", "u", "n"), Status.UNSURE),
        (("s", "n"), Status.UNSURE),
        (("s", "s"), Status.SOLVED),
        (("s", "s", "e"), Status.ERROR),
    ],
)
def test_more_than_half_decide(members: tuple[str, ...], expected: Status) -> None:
    """Without a majority it is unsure; a failed member fails the round."""
    assert cast(*members) == {0: expected}


def test_a_round_that_a_member_has_not_judged_is_still_to_be_judged() -> None:
    """The panel does not shrink to those who happen to be done."""
    assert cast("ss", "s.") == {0: Status.SOLVED}


def test_one_judge_alone_is_no_panel() -> None:
    """Its log passes as it is, its name is its own."""
    assert cast("sne") == {0: Status.SOLVED, 1: Status.UNSOLVED, 2: Status.ERROR}
    assert panel_of_one("j", "r").name == "j"


def test_a_panel_is_named_after_its_members() -> None:
    """Different rubrics have one hash of their own."""
    panel = Panel((PanelMember("a/x", "r1"), PanelMember("b/y", "r2")))

    assert panel.name == "panel(a/x, b/y)"
    assert panel.rubric not in {"r1", "r2"}
    assert Panel((PanelMember("a/x", "r"), PanelMember("b/y", "r"))).rubric == "r"
