"""Experiments with agents, in real processes on the bundled dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stb_core.settings import load_settings
from stb_experiments.benches import Plan, opened_workshop
from stb_experiments.failures import ARMS as FAILURE_ARMS
from stb_experiments.failures import failures
from stb_experiments.order import ARMS, order
from stb_experiments.output import write

DRIFTING = """
import dataclasses
import uuid

from stb_agents.builtin.scripted import Scripted


class Drifting(Scripted):
    name = "drifting"

    async def solve(self, task, environment):
        outcome = await super().solve(task, environment)
        return dataclasses.replace(outcome, final_answer=uuid.uuid4().hex)


agent = Drifting()
"""


@pytest.mark.slow
def test_a_script_repeats_itself_and_a_drifting_agent_is_found(
    run_stb: Callable[..., Any], tmp_path: Path, postgres_url: str
) -> None:
    """0 differing bytes over processes and databases; else which bytes, and that it was the agent."""
    (tmp_path / "drift.py").write_text(DRIFTING)

    ended = run_stb(
        *("experiment", "reproduce", "-k", "2", "--limit", "1", "--postgres-url", postgres_url),
        *("-a", "scripted", "-a", "drift.py:agent", "-o", "out", "--json"),
    )

    assert (1, "") == (ended.code, ended.err)
    rows = {(row["agent"] == "scripted", row["repetition"]): row for row in ended.document["rows"]}
    assert (0, "sqlite") == (rows[True, 1]["differing_bytes"], rows[True, 1]["store"])
    assert (0, "postgresql") == (rows[True, 2]["differing_bytes"], rows[True, 2]["store"])
    assert rows[False, 2]["differing_bytes"] > 0
    assert ("agent", True) == (
        rows[False, 2]["fault"],
        rows[False, 2]["first_difference"].startswith("trajectories G1_"),
    )
    assert "differing bytes" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
async def test_order_and_company_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two systems one query at a time, and interleaved, give the same bytes."""
    monkeypatch.chdir(tmp_path)
    async with opened_workshop(load_settings(), Plan(("scripted", "scripted-hasty"), limit=1)) as workshop:
        result = await order(workshop, arms=(ARMS[0], ARMS[-1]))

    assert result.passed
    assert [(6, 0)] * 4 == [(row["n"], row["differing_bytes"]) for row in result.rows]


@pytest.mark.slow
async def test_a_cache_keeps_a_score_that_the_live_apis_lose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every API down the live score is 0, the other what it was, to the byte."""
    monkeypatch.chdir(tmp_path)
    async with opened_workshop(load_settings(), Plan(limit=1)) as workshop:
        result = await failures(workshop, arms=FAILURE_ARMS[:2], levels=(0.0, 1.0))
    write(result, tmp_path / "out")

    assert result.passed
    live, live_down, cached, cached_down = result.rows
    assert live["score"] > live_down["score"] == 0
    assert (cached["score"], 0, 0) == (
        cached_down["score"],
        cached_down["changed_trajectories"],
        cached_down["changed_recorded"],
    )
    assert (tmp_path / "out" / "scores.svg").read_text().startswith("<svg")


def test_percentages_that_are_none_are_refused(run_stb: Callable[..., Any]) -> None:
    """One line that shows the form, exit code 2."""
    ended = run_stb("experiment", "failures", "--down", "half")

    assert (2, "stb: 'half' are no percentages. Write such as: --down 0,10,50.\n") == (ended.code, ended.err)
