"""A score has the same bits on any machine, whichever Python there is."""

from __future__ import annotations

from stb_evaluator.statistics.sums import sum_in_order


def test_a_sum_is_rounded_after_each_addition() -> None:
    """``sum`` gives 1.0 from Python 3.12 on."""
    assert 0.9999999999999999 == sum_in_order([0.1] * 10)
    assert 0.0 == sum_in_order([])
