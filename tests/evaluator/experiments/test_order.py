"""``order``, in real processes on the bundled dataset."""

from __future__ import annotations

from pathlib import Path

import pytest

from stb_core.settings import load_settings
from stb_experiments.benches import ExperimentPlan, open_bench_maker
from stb_experiments.order import ARMS, measure_order


@pytest.mark.slow
async def test_order_and_company_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two systems one query at a time, and interleaved, give the same bytes."""
    monkeypatch.chdir(tmp_path)
    async with open_bench_maker(
        load_settings(), ExperimentPlan(("scripted", "scripted-hasty"), limit=1)
    ) as maker:
        result = await measure_order(maker, arms=(ARMS[0], ARMS[-1]))

    assert result.passed
    assert [(6, 0)] * 4 == [(row["n"], row["differing_bytes"]) for row in result.rows]
