"""A run in which no answer needs a judge is scored, reported, compared and examined like any other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluator_makers import make_run, trajectory
from stb_core.store import open_store
from stb_core.values import StopReason


@pytest.fixture(name="silent")
def _silent(sqlite_store_url: str) -> None:
    """Two runs on four queries, none of which any agent answered; a third answered one."""

    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        stops = StopReason.GAVE_UP, StopReason.NO_FINISH, StopReason.GAVE_UP, StopReason.ANSWERED
        for run in ("silent", "mute", "one"):
            made = [
                trajectory(str(number), stop=stop, answer="Solved." if run == "one" else "")
                for number, stop in enumerate(stops)
            ]
            await make_run(store, made, run=run, dataset=run)
        await store.close()

    asyncio.run(fill())


pytestmark = pytest.mark.usefixtures("silent")


@pytest.mark.parametrize("judge", [("--judge", "rules"), ("--judge", "recorded"), ()])
def test_it_is_scored_and_reported(
    run_stb: Callable[..., Any], tmp_path: Path, judge: tuple[str, ...]
) -> None:
    """By each judge that needs no model, and without naming one: 0 percent, and complete."""
    scored = run_stb("score", "silent", *judge, "--json")
    reported = run_stb("report", "silent", *judge, "-o", tmp_path / "report.json", "--json")

    assert (scored.code, reported.code) == (0, 0)
    rows = json.loads((tmp_path / "report.json").read_text())["rows"]
    for found in (scored.document["rows"], rows):
        assert {(row["value"], row["n"], row["n_total"], row["complete"]) for row in found} == {
            (0.0, 4, 4, True)
        }


def test_the_report_of_a_judge_with_a_model_needs_no_verdict(
    run_stb: Callable[..., Any], tmp_path: Path
) -> None:
    """No answer is there to be judged, so the model need not be reached."""
    reported = run_stb("report", "silent", "--judge", "openai/any", "-o", tmp_path / "report.csv", "--json")

    assert reported.code == 0
    assert {row["judge"] for row in reported.document["rows"]} == {"openai/any"}


def test_it_is_compared(run_stb: Callable[..., Any]) -> None:
    """With another such run, and with one that a judge has judged."""
    alike = run_stb("compare", "silent", "mute", "--json")
    other = run_stb("compare", "silent", "one", "--judge", "rules", "--json")

    assert (alike.code, alike.document["rows"][0]["value"]) == (0, 0.0)
    assert (other.code, other.document["rows"][0]["n"]) == (0, 4)


def test_it_goes_with_the_judge_of_the_others(run_stb: Callable[..., Any], tmp_path: Path) -> None:
    """Without --judge the only judge of the others is taken, and the report covers both runs."""
    assert run_stb("score", "one", "--judge", "rules").code == 0

    reported = run_stb("report", "silent", "one", "-o", tmp_path / "report.md", "--json")

    assert reported.code == 0
    assert {(row["run"], row["judge"]) for row in reported.document["rows"]} == {
        ("silent", "rules"),
        ("one", "rules"),
    }


def test_a_judge_is_examined_on_it(run_stb: Callable[..., Any]) -> None:
    """The measures that need answers have no value; all else is as for a run that answered."""
    silent, one = (
        run_stb("experiment", "judge", run, "--judge", "rules", "--json") for run in ("silent", "one")
    )

    rows = {row["measure"]: row for row in silent.document["rows"]}
    assert silent.code == one.code
    assert rows.keys() == {row["measure"] for row in one.document["rows"]}
    assert (rows["unanimous"]["value"], rows["unanimous"]["n"]) == (None, 0)


def test_its_variance_is_split(run_stb: Callable[..., Any]) -> None:
    """There is none: all scores are 0."""
    ended = run_stb("experiment", "variance", "silent", "mute", "--judge", "rules", "--json")

    assert ended.code == 0


def test_a_run_without_a_trial_still_needs_a_judge(
    run_stb: Callable[..., Any], sqlite_store_url: str
) -> None:
    """Nothing is known of it yet."""

    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        await make_run(store, [], run="new", expected={"G1_tool": ["1"]})
        await store.close()

    asyncio.run(fill())

    ended = run_stb("report", "new", "-o", "report.csv")

    assert (ended.code, "The run 'new' has no verdicts yet" in ended.err) == (2, True)
