"""A trajectory as lines of text."""

from __future__ import annotations

import pytest

from stb_core.values.trajectories import AnswerSource, StopReason, Trajectory
from stb_evaluator.reports.trajectory_text import draw_trajectory


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", []),
        ("text", ["(taken from the last words of its model)"]),
        ("function", ["(taken from its model's call of the agent's own function)"]),
    ],
)
def test_an_answer_says_where_it_is_from(source: AnswerSource, said: list[str]) -> None:
    """Where the agent did not hand it in itself."""
    trajectory = Trajectory(
        group="G1_tool",
        query_id="1",
        query="Rain?",
        agent="a",
        stop=StopReason.ANSWERED,
        final_answer="No.",
        answer_source=source,
    )
    lines = [line.plain for line in draw_trajectory(trajectory, [])]

    assert said == [line for line in lines if line.startswith("(taken")]
