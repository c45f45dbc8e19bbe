"""Intervals agree with published values and independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from stb_evaluator.statistics.intervals import (
    Interval,
    bayesian_interval,
    bootstrap_means,
    mean_interval,
    weighted_interval,
    wilson_interval,
)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 10), (5, 10), (10, 10), (81, 263), (15, 148)])
def test_wilson_agrees_with_statsmodels(k: int, n: int) -> None:
    """To ten digits."""
    expected = proportion_confint(k, n, method="wilson")

    found = wilson_interval(k / n, n)

    assert (found.low, found.high) == pytest.approx(expected, abs=1e-10)


def test_wilson_agrees_with_newcombe() -> None:
    """81 of 263: 0.2553 to 0.3662 (Newcombe, Statistics in Medicine 17, 1998, table I)."""
    found = wilson_interval(81 / 263, 263)

    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)


@pytest.mark.parametrize(("k", "n"), [(1, 10), (5, 10), (81, 263)])
def test_jeffreys_agrees_with_statsmodels(k: int, n: int) -> None:
    """To ten digits."""
    expected = proportion_confint(k, n, method="jeffreys")

    found = bayesian_interval(k / n, n)

    assert (found.low, found.high) == pytest.approx(expected, abs=1e-10)


def test_jeffreys_reaches_the_ends() -> None:
    """No success: the interval begins at 0; nothing but successes: it ends at 1."""
    assert bayesian_interval(0, 10).low == 0
    assert bayesian_interval(1, 10).high == 1


def test_resampled_means_have_the_spread_of_the_sample() -> None:
    """Their variance is the population variance of the scores over n."""
    scores = np.random.default_rng(1).choice([0, 0.5, 1 / 3, 1], size=160)

    means = bootstrap_means(scores, resamples=200_000)

    assert means.mean() == pytest.approx(scores.mean(), abs=5e-4)
    assert means.var() == pytest.approx(scores.var() / len(scores), rel=0.02)


def test_the_bootstrap_agrees_with_scipy() -> None:
    """With scipy.stats.bootstrap, percentile method, to half a point."""
    scores = np.random.default_rng(2).choice([0.0, 0.5, 1.0], size=150)
    expected = stats.bootstrap(
        (scores,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval

    found = mean_interval(scores)

    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.005)


def test_a_seed_fixes_the_interval() -> None:
    """The same seed gives the same interval, another seed nearly the same."""
    scores = np.random.default_rng(2).choice([0.0, 0.5, 1.0], size=150)

    assert mean_interval(scores, seed=1) == mean_interval(scores, seed=1)
    assert mean_interval(scores, seed=1) != mean_interval(scores, seed=2)


@pytest.mark.parametrize("scores", [[1.0] * 200, [0.0, 1.0] * 5])
def test_small_and_uniform_groups_get_wilson(scores: list[float]) -> None:
    """Two hundred successes do not mean certainty, and ten queries are too few to resample."""
    found = mean_interval(np.array(scores))

    assert found == wilson_interval(float(np.mean(scores)), len(scores))
    assert found.low < 1


def test_the_interval_of_an_average_is_that_of_the_weighted_sum() -> None:
    """Against the normal approximation for six independent groups."""
    rng = np.random.default_rng(4)
    groups = [rng.choice([0.0, 0.5, 1.0], size=n) for n in (163, 153, 158, 124, 106, 61)]
    error = np.sqrt(sum(g.var() / len(g) for g in groups)) / 6
    mean = np.mean([g.mean() for g in groups])

    found = weighted_interval(groups, [1 / 6] * 6)

    assert (found.low, found.high) == pytest.approx((mean - 1.96 * error, mean + 1.96 * error), abs=0.002)
    assert found.method == "bootstrap"


def test_one_group_alone_is_its_own_average() -> None:
    """MOVER with a single group gives that group's Wilson interval."""
    scores = np.array([1.0, 0.0, 1.0, 1.0])

    found = weighted_interval([scores], [1.0])

    expected = wilson_interval(0.75, 4)
    assert found == Interval(pytest.approx(expected.low), pytest.approx(expected.high), "mover-wilson")  # type: ignore[arg-type]


def test_mover_agrees_with_its_formula_on_uniform_groups() -> None:
    """Two groups of 20 successes: the distances add as squares, halved by the weights."""
    ones = np.ones(20)
    alone = wilson_interval(1.0, 20)

    found = weighted_interval([ones, ones], [0.5, 0.5])

    assert found.low == pytest.approx(1 - np.sqrt(2) * 0.5 * (1 - alone.low))
    assert found.high == 1


@pytest.mark.parametrize("n", [20, 61, 163])
def test_intervals_cover_the_truth(n: int) -> None:
    """Over 1,000 samples of a group 95 percent intervals hold the true mean in 93 to 98 percent."""
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(1_000):
        scores = rng.choice([0.0, 0.5, 1.0], size=n, p=[0.4, 0.1, 0.5])
        found = mean_interval(scores, seed=int(rng.integers(2**31)))
        covered += found.low <= 0.55 <= found.high

    assert 0.93 <= covered / 1_000 <= 0.98
