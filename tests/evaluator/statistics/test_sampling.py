"""What varies between benchmarks is which queries, or clusters of queries, were drawn within groups."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from stb_evaluator.statistics.sampling import codes, design_of, finite, sum_in_order

GROUPS = np.repeat(["x", "y", "z"], [40, 25, 60])


def some_scores(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 7, shape) / 6


def test_macro_is_the_mean_of_group_means() -> None:
    """Every group has the same weight, however many queries it has."""
    scores = some_scores(0, 125)

    design = design_of(125, groups=GROUPS)

    means = [scores[GROUPS == group].mean() for group in "xyz"]
    assert np.mean(means) == pytest.approx(design.estimate(scores))


def test_micro_is_the_mean_over_queries() -> None:
    """Every query has the same weight."""
    scores = some_scores(0, 125)

    design = design_of(125, groups=GROUPS, weighting="micro")

    assert scores.mean() == pytest.approx(design.estimate(scores))


def test_the_standard_error_without_groups_is_the_usual_one() -> None:
    """Standard deviation over √n, as scipy has it."""
    scores = some_scores(1, 50)

    error = design_of(50).standard_error(scores)

    assert stats.sem(scores) == pytest.approx(float(error))


def test_the_standard_error_of_macro_adds_the_groups() -> None:
    """√(Σ SE²) / number of groups."""
    scores = some_scores(2, 125)

    error = design_of(125, groups=GROUPS).standard_error(scores)

    parts = [stats.sem(scores[GROUPS == group]) for group in "xyz"]
    assert np.sqrt(np.sum(np.square(parts))) / 3 == pytest.approx(float(error))


def test_clusters_give_the_cluster_robust_standard_error() -> None:
    """That of a regression on a constant in statsmodels."""
    scores, clusters = some_scores(3, 90), np.random.default_rng(3).integers(0, 17, 90)

    error = design_of(90, clusters=clusters).standard_error(scores)

    fitted = sm.OLS(scores, np.ones(90)).fit(cov_type="cluster", cov_kwds={"groups": clusters})
    assert fitted.bse[0] == pytest.approx(float(error))


def test_clusters_of_one_query_change_nothing() -> None:
    """A cluster for every query is the plain design."""
    scores = some_scores(4, 125)

    plain = design_of(125, groups=GROUPS)
    clustered = design_of(125, groups=GROUPS, clusters=range(125))

    assert np.allclose(plain.bootstrap(scores, seed=1), clustered.bootstrap(scores, seed=1))


def test_a_cluster_in_two_groups_is_one_cluster() -> None:
    """Groups that share tools are not independent: the same queries twice count once."""
    scores = some_scores(5, 50)
    groups = ["a"] * 50 + ["b"] * 50

    twice = design_of(100, groups=groups, clusters=[*range(50), *range(50)])

    assert [50] == twice.stratum_sizes.tolist()
    once = design_of(50).standard_error(scores)
    assert float(once) == pytest.approx(float(twice.standard_error(np.tile(scores, 2))))


def test_degrees_of_freedom_follow_the_group_with_few_clusters() -> None:
    """Three clusters that carry all of the spread leave two degrees of freedom."""
    scores = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 0.0, *[0.5] * 20])
    clusters = [0, 0, 1, 1, 2, 2, *range(3, 23)]

    design = design_of(26, groups=["few"] * 6 + ["many"] * 20, clusters=clusters)

    assert 2.0 == pytest.approx(float(design.freedom(scores)))


def test_the_bootstrap_is_that_of_scipy() -> None:
    """Without groups its spread is that of scipy's draws, but for √(n / (n - 1)) and chance."""
    scores = some_scores(6, 30)

    draws = design_of(30).bootstrap(scores, resamples=40_000, seed=0)

    other = stats.bootstrap((scores,), np.mean, n_resamples=40_000, rng=np.random.default_rng(1))
    assert other.standard_error * np.sqrt(30 / 29) == pytest.approx(draws.std(), rel=0.02)
    assert scores.mean() == pytest.approx(draws.mean(), abs=0.002)


def test_the_bootstrap_has_the_standard_error_of_the_design() -> None:
    """Within groups and by clusters that are of unequal size and lie across groups."""
    scores, clusters = some_scores(7, 125), np.random.default_rng(7).integers(0, 40, 125)
    design = design_of(125, groups=GROUPS, clusters=clusters)

    draws = design.bootstrap(scores, resamples=40_000, seed=0)

    assert float(design.standard_error(scores)) == pytest.approx(draws.std(), rel=0.02)


def test_columns_are_drawn_together() -> None:
    """Two systems with the same scores have the same draws, so their difference is certain."""
    scores = some_scores(8, 125)

    draws = design_of(125, groups=GROUPS).bootstrap(np.column_stack((scores, scores)), resamples=100)

    assert np.allclose(draws[:, 0], draws[:, 1])


@settings(deadline=None, max_examples=25)
@given(st.randoms(use_true_random=False), st.integers(0, 99))
def test_the_order_of_queries_does_not_matter(random: object, seed: int) -> None:
    """Shuffled queries give the same draws."""
    order = np.random.default_rng(random.getrandbits(32)).permutation(125)  # type: ignore[attr-defined]
    scores, clusters = some_scores(9, 125, 2), np.random.default_rng(9).integers(0, 60, 125)

    straight = design_of(125, groups=GROUPS, clusters=clusters)
    shuffled = design_of(125, groups=GROUPS[order], clusters=clusters[order])

    expected = straight.bootstrap(scores, resamples=50, seed=seed)
    assert np.allclose(expected, shuffled.bootstrap(scores[order], resamples=50, seed=seed))


def test_a_seed_gives_the_same_draws_in_blocks_of_any_kind() -> None:
    """A generator goes on where it is, a number starts anew."""
    scores, design, rng = some_scores(10, 40), design_of(40), np.random.default_rng(3)

    first, second = (design.bootstrap(scores, resamples=20, seed=rng) for _ in range(2))

    assert np.array_equal(design.bootstrap(scores, resamples=20, seed=3), first)
    assert not np.array_equal(first, second)


def test_the_effective_number_of_queries() -> None:
    """All of them where they weigh the same; fewer where groups of unequal size do."""
    assert 125 == pytest.approx(design_of(125, groups=GROUPS, weighting="micro").effective_n)
    assert 9 / (1 / 40 + 1 / 25 + 1 / 60) == pytest.approx(design_of(125, groups=GROUPS).effective_n)


def test_what_has_no_spread_to_estimate_is_refused() -> None:
    """No query, a group of one, scores that are missing, labels of another number."""
    with pytest.raises(ValueError, match="no query"):
        design_of(0)
    with pytest.raises(ValueError, match="single query or cluster"):
        design_of(3, groups=["a", "a", "b"]).standard_error([0, 1, 1])
    with pytest.raises(ValueError, match="missing"):
        design_of(2).estimate([0, np.nan])
    with pytest.raises(ValueError, match="2 scores were given for 3"):
        design_of(3).estimate([0, 1])
    with pytest.raises(ValueError, match="groups: 3 labels"):
        design_of(3, groups=["a", "b"])
    with pytest.raises(ValueError, match="no score"):
        finite([])


def test_labels_are_numbered_in_their_own_order() -> None:
    """So that nothing depends on the order in which groups come."""
    assert [1, 0, 1, 2] == codes(["b", "a", "b", "c"], 4, "groups").tolist()


def test_a_sum_is_rounded_after_each_addition() -> None:
    """So a score has the same bits under any Python; ``sum`` gives 1.0 from Python 3.12 on."""
    assert 0.9999999999999999 == sum_in_order([0.1] * 10)
    assert 0.0 == sum_in_order([])
