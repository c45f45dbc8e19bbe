"""``failures``, in real processes on the bundled dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stb_core.settings import load_settings
from stb_experiments.benches import ExperimentPlan, open_bench_maker
from stb_experiments.failures import ARMS, measure_failures
from stb_experiments.output import write_result


@pytest.mark.slow
async def test_a_cache_keeps_a_score_that_the_live_apis_lose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every API down the live score is 0, the other what it was, to the byte."""
    monkeypatch.chdir(tmp_path)
    async with open_bench_maker(load_settings(), ExperimentPlan(limit=1)) as maker:
        result = await measure_failures(maker, arms=ARMS[:2], levels=(0.0, 1.0))
    write_result(result, tmp_path / "out")

    assert result.passed
    live, live_down, cached, cached_down = result.rows
    assert live["score"] > live_down["score"] == 0
    assert (cached["score"], 0, 0) == (
        cached_down["score"],
        cached_down["changed_trajectories"],
        cached_down["changed_recorded"],
    )
    assert (tmp_path / "out" / "scores.svg").read_text().startswith("<svg")


def test_what_is_not_a_list_of_percentages_is_refused(run_stb: Callable[..., Any]) -> None:
    """One line that shows the form, exit code 2."""
    ended = run_stb("experiment", "failures", "--down", "half")

    assert (2, "stb: 'half' is not a list of percentages. Use the form --down 0,10,50.\n") == (
        ended.code,
        ended.err,
    )
