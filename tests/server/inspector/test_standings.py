"""Scores on pages: drawn to scale, computed once, and a page does not wait for them for ever."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

import pytest

from stb_core import plugins
from stb_core.errors import UsageError
from stb_core.store import Store
from stb_core.store.runs import Run
from stb_core.usage import Usage
from stb_core.values.manifest import Manifest
from stb_server.inspector import standings
from stb_server.inspector.rendering import money
from stb_server.inspector.run_digests import RunDigest, TrialDigest
from stb_server.inspector.run_rows import RunRow
from stb_server.inspector.standings import Standings
from stb_server.inspector.verdicts import JudgeName


def row(
    value: float | None, low: float | None = None, high: float | None = None, group: str = "macro"
) -> dict:
    """A row of a provider."""
    return {
        "run": "r",
        "judge": "j",
        "rubric": "",
        "group": group,
        "value": value,
        "ci_low": low,
        "ci_high": high,
    }


def test_rows_are_drawn_to_scale() -> None:
    """Percent as they are; differences around the middle; a row without a value is no drawing."""
    (score,) = standings.draw_whiskers([row(40.0, 30.0, 55.0)], "run")
    (difference,) = standings.draw_whiskers([row(-5.0, -10.0, 0.0)], "run", reach=20)
    (nothing,) = standings.draw_whiskers([row(None)], "run")

    assert (40, 30, 55) == (score.value, score.low, score.high)
    assert (37.5, 25, 50) == (difference.value, difference.low, difference.high)
    assert nothing.value is None
    assert [5, 20, 100] == [
        standings.choose_reach(rows) for rows in ([], [row(3, -4, 11)], [row(60, 55, 65)])
    ]


async def test_scores_are_computed_once_for_a_state(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks in the meantime waits for the same computation; another state is computed anew."""
    calls: list[Sequence[str]] = []

    async def provide(_: Store, runs: Sequence[str]) -> list[dict]:
        calls.append(runs)
        await asyncio.sleep(0.1)
        return [row(1.0)]

    monkeypatch.setattr(plugins, "find_scores", lambda _: provide)
    found = Standings()
    until = time.monotonic() + 60

    early = await found.scores(sqlite_store, "r", "state 1", until=0)
    both = await asyncio.gather(*(found.scores(sqlite_store, "r", "state 1", until=until) for _ in range(2)))
    await found.scores(sqlite_store, "r", "state 2", until=until)

    assert early is None
    assert [[row(1.0)]] * 2 == both
    assert 2 == len(calls)


async def test_runs_that_cannot_be_compared_say_why(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider's error reaches the page; without a provider there is nothing to show."""

    async def provide(_: Store, runs: Sequence[str]) -> list[dict]:
        raise UsageError(f"{runs[0]} and {runs[1]} have nothing in common.")

    monkeypatch.setattr(plugins, "find_scores", lambda _: provide)
    with pytest.raises(UsageError, match="nothing in common"):
        await Standings().differences(sqlite_store, ["a", "b"], "s", until=time.monotonic() + 60)
    monkeypatch.setattr(plugins, "find_scores", lambda _: None)

    assert [] == await Standings().scores(sqlite_store, "r", "s", until=0)


def test_costs_are_told_by_who_pays() -> None:
    """The agent's and the simulator's from trajectories, each judge's from the score."""
    trial = TrialDigest(
        *("g", "1", 0, "?", "answered", 1, 0, 0, 0),
        usage=Usage(prompt_tokens=90, completion_tokens=10, cost_usd=0.5),
        simulator=Usage(prompt_tokens=7),
        seconds=1.0,
        provenances=Counter(),
    )
    run = Run(
        "r", "r", "d", "a", None, Manifest(dataset="d", dataset_hash="", agent="a"), {"g": ["1"]}, 1, ""
    )
    score = {**row(50.0), "judge_tokens": 30, "judge_cost_usd": 0.25}
    digest = RunDigest(1, {trial.place: trial}, {})
    shown = RunRow(
        run, digest, 1, {}, {JudgeName("j", ""): standings.draw_whiskers([score], "run")[0]}, is_scored=True
    )

    assert [("agent", 100, 0.5), ("simulator", 7, None), ("judge j", 30, 0.25)] == [
        (cost.payer, cost.tokens, cost.usd) for cost in shown.costs
    ]


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0, "$0.00"),
        (0.00001, "< $0.0001"),
        (0.0125, "$0.0125"),
        (0.5, "$0.50"),
        (0.999, "$0.999"),
        (1234.5, "$1,234.50"),
    ],
)
def test_amounts_are_never_shown_as_nothing(usd: float, text: str) -> None:
    """Unless they are."""
    assert text == money(usd)
