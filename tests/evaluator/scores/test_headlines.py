"""A headline stands over scores of trials that did not end as their agent meant them to."""

from __future__ import annotations

import pytest

from evaluator_makers import make_run, trajectory
from stb_core.store import Store
from stb_core.values import StopReason
from stb_evaluator.scores.headlines import run_headlines
from stb_evaluator.scores.run_reader import RunReader


@pytest.mark.parametrize(
    ("stop", "headline"),
    [
        (StopReason.AGENT_ERROR, "AGENT ERRORS: the agent failed in 1 of 2 answers of r, "),
        (StopReason.EXPIRED, "EXPIRED: the agent left 1 of 2 episodes of r, "),
        (
            StopReason.CONTEXT_EXCEEDED,
            "REFUSED: the model's endpoint refused the conversation in 1 of 2 answers of r, ",
        ),
    ],
)
async def test_trials_that_ended_otherwise(sqlite_store: Store, stop: StopReason, headline: str) -> None:
    """They count as unsolved, and the line says how many and why."""
    run = await make_run(sqlite_store, [trajectory("1"), trajectory("2", stop=stop)])

    (line,) = await run_headlines(RunReader(sqlite_store, run))

    assert line.startswith(headline)
    assert "unsolved" in line


async def test_usual_ends_have_none(sqlite_store: Store) -> None:
    """An answer, and giving up."""
    run = await make_run(sqlite_store, [trajectory("1"), trajectory("2", stop=StopReason.GAVE_UP)])

    assert [] == await run_headlines(RunReader(sqlite_store, run))
