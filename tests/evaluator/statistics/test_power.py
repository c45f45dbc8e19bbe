"""How small a difference can be found, and with how many queries, agrees with statsmodels and simulation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import NormalIndPower

import real_verdicts
from stb_evaluator.statistics.power import (
    detectable_difference,
    queries_needed,
)
from stb_evaluator.statistics.sampling import design_of


@pytest.mark.parametrize(("alpha", "power", "n"), [(0.05, 0.8, 765), (0.01, 0.9, 61), (0.1, 0.5, 30)])
def test_the_detectable_difference_agrees_with_statsmodels(alpha: float, power: float, n: int) -> None:
    """In standard deviations of the differences, for n pairs."""
    expected = NormalIndPower().solve_power(nobs1=n, alpha=alpha, power=power, ratio=0)

    found = detectable_difference(1 / math.sqrt(n), alpha=alpha, power=power)

    assert expected == pytest.approx(found, rel=1e-3)


def test_two_point_eight_standard_errors() -> None:
    """At 5 % and 80 %: 1.960 + 0.842."""
    assert 2.8016 == pytest.approx(detectable_difference(1), abs=5e-5)


def test_the_detectable_difference_is_found_as_often_as_promised() -> None:
    """In four of five of 4,000 simulated comparisons on 300 queries."""
    rng = np.random.default_rng(0)
    difference = detectable_difference(0.5 / math.sqrt(300))

    p = stats.ttest_1samp(rng.normal(difference, 0.5, (300, 4000)), 0).pvalue

    assert 0.8 == pytest.approx((p < 0.05).mean(), abs=0.02)


@given(st.floats(0.005, 0.5), st.floats(0.01, 1))
def test_queries_needed_are_just_enough(difference: float, deviation: float) -> None:
    """With so many the difference is detectable, with one fewer it is not."""
    n = queries_needed(difference, deviation)

    assert detectable_difference(deviation / math.sqrt(n)) <= difference * (1 + 1e-9)
    assert n == 1 or detectable_difference(deviation / math.sqrt(n - 1)) > difference * (1 - 1e-9)


def test_systems_without_a_difference_between_queries() -> None:
    """A constant lead is found however small, on one query."""
    assert 0.0 == detectable_difference(0)
    assert 1 == queries_needed(0.01, 0)


def test_impossible_questions_are_refused() -> None:
    """No difference, negative spread, certainty."""
    with pytest.raises(ValueError, match="greater than 0"):
        queries_needed(0, 1)
    with pytest.raises(ValueError, match="deviation"):
        queries_needed(0.1, -1)
    with pytest.raises(ValueError, match="standard error"):
        detectable_difference(math.nan)
    with pytest.raises(ValueError, match="alpha and power"):
        detectable_difference(1, power=1)


def test_what_the_real_benchmark_can_find(real_data: Path) -> None:
    """765 queries, macro: 3.8 to 5.8 points between two systems that share them, 6.9 to 7.2 if not."""
    verdicts = real_verdicts.load(real_data)
    design, scores = design_of(765, groups=verdicts.groups), verdicts.scores.T
    pairs = [(a, b) for i, a in enumerate(scores) for b in scores[i + 1 :]]

    paired = [100 * detectable_difference(float(design.standard_error(a - b))) for a, b in pairs]
    errors = [math.hypot(*(float(design.standard_error(one)) for one in pair)) for pair in pairs]
    unpaired = [100 * detectable_difference(error) for error in errors]

    assert (3.81, 5.78) == pytest.approx((min(paired), max(paired)), abs=0.01)
    assert (6.87, 7.14) == pytest.approx((min(unpaired), max(unpaired)), abs=0.01)
