"""Gates: which scores and differences make a command fail."""

from typing import Any

import pytest

from stb_evaluator.scores.gates import low_scores, worse_runs


def scored(**changed: Any) -> dict[str, Any]:
    row = {"run": "r", "metric": "sopr", "block": "faithful", "group": "macro", "value": 50.0}
    return row | {"ci_low": 44.0, "ci_high": 56.0} | changed


def compared(**changed: Any) -> dict[str, Any]:
    row = {"run": "new", "run_b": "base", "metric": "sopr", "group": "macro", "value": -3.0}
    return row | {"ci_low": -5.0, "ci_high": -1.0} | changed


@pytest.mark.parametrize(
    ("threshold", "by_interval", "is_low"),
    [(50, False, False), (50.1, False, True), (44, True, False), (45, True, True)],
)
def test_a_score_is_held_against_the_threshold(threshold: float, by_interval: bool, is_low: bool) -> None:
    """The score itself, or the lower end of its interval; a score that reaches the threshold passes."""
    assert bool(low_scores([scored()], threshold, by_interval=by_interval)) == is_low


def test_the_lines_say_what_was_too_low() -> None:
    assert low_scores([scored()], 60) == ["FAILED: r: macro sopr 50.0 is below 60."]
    assert low_scores([scored()], 45, by_interval=True) == [
        "FAILED: r: the lower end of macro sopr 50.0 [44.0, 56.0] is below 45."
    ]
    assert low_scores([scored(value=None, ci_low=None, ci_high=None)], 0, by_interval=True) == [
        "FAILED: r: macro sopr, which is unknown, is below 0."
    ]


def test_the_faithful_block_counts_where_there_is_one() -> None:
    """Groups and the micro score do not count; the reference block only where it stands alone."""
    other = scored(block="reference", value=10.0, ci_low=None, ci_high=None)
    group = scored(group="G1_tool", value=10.0, ci_low=1.0)

    assert low_scores([scored(), other, group], 45) == []
    assert low_scores([other], 45, by_interval=True) == ["FAILED: r: macro sopr 10.0 is below 45."]


def test_of_a_panel_its_common_score_counts() -> None:
    """Its row comes first; what a member alone would give does not fail the command."""
    assert low_scores([scored(judge="a+b"), scored(judge="a", value=10.0)], 45) == []


@pytest.mark.parametrize(
    ("row", "margin", "is_worse"),
    [
        (compared(), 0, True),
        (compared(), 0.5, True),
        (compared(), 1, False),
        (compared(ci_high=0.5), 0, False),
        (compared(value=None, ci_high=None), 0, True),
        (compared(run="base", run_b="other"), 0, False),
        (compared(group="G1_tool"), 0, False),
        (compared(metric="sowr", value=40.0, ci_low=35.0, ci_high=49.0), 0, True),
        (compared(metric="sowr", value=40.0, ci_low=35.0, ci_high=49.0), 2, False),
        (compared(metric="sowr", value=48.0, ci_low=40.0, ci_high=51.0), 0, False),
    ],
)
def test_a_run_is_worse_only_if_the_whole_interval_says_so(
    row: dict[str, Any], margin: float, is_worse: bool
) -> None:
    """And by more than the margin; of pairs only those of the run that is checked count."""
    assert bool(worse_runs([row], "new", margin)) == is_worse


def test_the_line_says_than_which_run_it_is_worse() -> None:
    assert worse_runs([compared()], "new", 0.5) == [
        "FAILED: new is worse than base by more than 0.5 points: macro sopr -3.0 [-5.0, -1.0]."
    ]
