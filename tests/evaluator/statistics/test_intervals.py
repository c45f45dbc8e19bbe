"""Intervals for mean scores agree with published formulas, and the right one is chosen."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from stb_evaluator.statistics.intervals import (
    Interval,
    bayesian_interval,
    bootstrap_interval,
    clustered_interval,
    combined_interval,
    mean_interval,
    t_quantile,
    wilson_interval,
)

SCORES = st.lists(st.sampled_from([0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1]), min_size=1, max_size=60)


def ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


@pytest.mark.parametrize(("solved", "n"), [(0, 10), (3, 10), (10, 10), (81, 263), (1, 1)])
def test_wilson_agrees_with_scipy(solved: int, n: int) -> None:
    """At all levels, at the edges too."""
    for level in (0.9, 0.95, 0.99):
        expected = stats.binomtest(solved, n).proportion_ci(level, method="wilson")

        assert tuple(expected) == pytest.approx(ends(wilson_interval(solved / n, n, level=level)), abs=1e-12)


def test_wilson_agrees_with_newcombe() -> None:
    """81 of 263 and 0 of 20: the examples of Newcombe (Statistics in Medicine 17, 1998, table 1)."""
    assert (0.2553, 0.3662) == pytest.approx(ends(wilson_interval(81 / 263, 263)), abs=5e-5)
    assert (0.0, 0.1611) == pytest.approx(ends(wilson_interval(0, 20)), abs=5e-5)


@pytest.mark.parametrize(("solved", "n"), [(3, 10), (81, 263), (1, 2)])
def test_the_bayesian_interval_agrees_with_statsmodels(solved: int, n: int) -> None:
    """Jeffreys' interval."""
    expected = proportion_confint(solved, n, method="jeffreys")

    assert expected == pytest.approx(ends(bayesian_interval(solved / n, n)))


def test_the_bayesian_interval_includes_what_was_seen() -> None:
    """Its end is 0 where nothing was solved, and 1 where everything was."""
    assert 0.0 == bayesian_interval(0, 5).low
    assert 1.0 == bayesian_interval(1, 5).high


def test_the_bayesian_interval_takes_a_prior() -> None:
    """With a uniform prior three of ten give Beta(4, 8)."""
    expected = stats.beta(4, 8).interval(0.9)

    assert expected == pytest.approx(ends(bayesian_interval(0.3, 10, level=0.9, prior=(1, 1))))


def test_the_clustered_interval_agrees_with_statsmodels() -> None:
    """Cluster-robust, with t of as many degrees of freedom as there are clusters but one, if alike."""
    scores = np.random.default_rng(0).random(80)
    clusters = np.repeat(np.arange(16), 5)

    found = clustered_interval(scores, clusters)

    fitted = sm.OLS(scores, np.ones(80)).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "df_correction": True}, use_t=True
    )
    assert tuple(fitted.conf_int()[0]) == pytest.approx(ends(found))


def test_three_clusters_give_a_wide_interval() -> None:
    """61 queries from 3 collections of tools know far less than 61 queries."""
    rng = np.random.default_rng(1)
    clusters = np.repeat([0, 1, 2], [28, 20, 13])
    scores = (rng.random(61) < np.array([0.3, 0.5, 0.7])[clusters]).astype(float)

    plain, clustered = mean_interval(scores), mean_interval(scores, clusters=clusters)

    assert ("bootstrap", "cluster-robust") == (plain.method, clustered.method)
    assert clustered.high - clustered.low > 2 * (plain.high - plain.low)


def test_the_bootstrap_agrees_with_student_for_many_queries() -> None:
    """For 765 queries of one group the two are the same to a tenth of a percentage point."""
    scores = np.random.default_rng(2).integers(0, 7, 765) / 6

    found = bootstrap_interval(scores)

    expected = stats.t.interval(0.95, 764, loc=scores.mean(), scale=stats.sem(scores))
    assert tuple(expected) == pytest.approx(ends(found), abs=1e-3)


def test_independent_means_combine_as_their_errors_do() -> None:
    """Symmetric intervals of equal width: half the width over √2 for the mean of two."""
    parts = [Interval(0.2, 0.4, "one"), Interval(0.5, 0.7, "two")]

    found = combined_interval([0.3, 0.6], parts, [0.5, 0.5])

    assert (0.45 - 0.1 / np.sqrt(2), 0.45 + 0.1 / np.sqrt(2)) == pytest.approx(ends(found))
    assert "combined one+two" == found.method


@pytest.mark.parametrize(
    ("scores", "method"),
    [
        ([0, 1] * 5, "bayesian"),
        ([1.0] * 500, "bayesian"),
        ([0.5] * 500, "bayesian"),
        ([1.0] * 495 + [0.0] * 5, "bayesian"),
        ([0, 1] * 50, "bootstrap"),
    ],
)
def test_small_or_uniform_groups_are_not_resampled(scores: list[float], method: str) -> None:
    """Too few queries, scores all alike, or fewer than ten that differ from the rest."""
    found = mean_interval(scores)

    assert method == found.method
    assert found.low < found.high


def test_one_small_group_changes_the_interval_of_the_mean_over_groups() -> None:
    """Its own interval is combined with those of the others."""
    scores, groups = [0, 1] * 53, ["large"] * 100 + ["small"] * 6

    assert "combined bayesian" == mean_interval(scores, groups=groups).method


def test_a_group_of_one_query_has_an_interval() -> None:
    """A wide one."""
    found = mean_interval([1.0])

    assert found.low < 0.3
    assert 1.0 == found.high


def test_a_single_cluster_counts_as_one_query() -> None:
    """However many queries it has."""
    found = mean_interval([0, 1] * 50, clusters=["the only one"] * 100)

    assert ends(bayesian_interval(0.5, 1)) == pytest.approx(ends(found))


def test_clusters_that_all_score_alike_say_nothing_of_their_spread() -> None:
    """One of two solved in each of 50: an interval for 50 queries, not a point."""
    found = mean_interval([0, 1] * 50, clusters=np.repeat(range(50), 2))

    assert ends(bayesian_interval(0.5, 50)) == pytest.approx(ends(found))


def test_counts_and_costs_are_resampled_too() -> None:
    """Scores of any size: steps per query."""
    steps = np.random.default_rng(4).poisson(6, 200)

    found = bootstrap_interval(steps)

    expected = stats.t.interval(0.95, 199, loc=steps.mean(), scale=stats.sem(steps))
    assert tuple(expected) == pytest.approx(ends(found), abs=0.03)


@settings(deadline=None, max_examples=60)
@given(SCORES, st.booleans(), st.sampled_from(["macro", "micro"]))
def test_an_interval_holds_the_mean_and_stays_in_range(
    scores: list[float], grouped: bool, weighting: str
) -> None:
    """Whatever the scores, with groups or without."""
    groups = np.arange(len(scores)) % 3 if grouped else np.zeros(len(scores))
    means = [np.mean(np.array(scores)[groups == group]) for group in np.unique(groups)]
    value = np.mean(means) if weighting == "macro" else np.mean(scores)

    found = mean_interval(scores, groups=groups, weighting=weighting, resamples=500)  # type: ignore[arg-type]

    assert 0 <= found.low <= value + 1e-9
    assert value - 1e-9 <= found.high <= 1


@settings(deadline=None, max_examples=40)
@given(SCORES)
def test_turning_scores_round_turns_the_interval_round(scores: list[float]) -> None:
    """1 - score has the interval (1 - high, 1 - low); by resampling, but for chance."""
    assume(len(scores) < 30)
    there, back = mean_interval(scores), mean_interval([1 - score for score in scores])

    assert ends(there) == pytest.approx((1 - back.high, 1 - back.low))


def test_what_is_no_share_is_refused() -> None:
    """Scores out of range, no queries, a level that is none."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        mean_interval([0.5, 1.5])
    with pytest.raises(ValueError, match="no score"):
        mean_interval([])
    with pytest.raises(ValueError, match="share of nothing"):
        wilson_interval(0.5, 0)
    with pytest.raises(ValueError, match="share is between"):
        bayesian_interval(1.1, 3)
    with pytest.raises(ValueError, match="level of confidence"):
        t_quantile(95)
