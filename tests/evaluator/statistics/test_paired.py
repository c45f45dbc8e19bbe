"""Systems are compared query by query, with intervals that agree with published formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

import real_verdicts
from stb_evaluator.statistics.paired import compare, compare_all, equivalence
from stb_evaluator.statistics.sampling import design_of

GROUPS = np.repeat(["x", "y", "z"], [40, 25, 60])


def two_systems(seed: int, n: int, lead: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores in sixths of two systems that find the same queries hard."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(0, 2, n)
    a, b = (np.clip(np.round(3 + hard + shift + rng.normal(0, 1, n)), 0, 6) / 6 for shift in (6 * lead, 0))
    return a, b


def test_a_difference_with_all_that_qualifies_it() -> None:
    """Macro mean of the differences, the interval around it, p, and who leads on how many queries."""
    a, b = two_systems(0, 125, lead=0.1)

    found = compare(a, b, groups=GROUPS)

    assert np.mean([(a - b)[GROUPS == g].mean() for g in "xyz"]) == pytest.approx(found.difference)
    assert found.interval.low < found.difference < found.interval.high
    assert (125, int((a > b).sum()), int((a < b).sum())) == (found.n, found.n_first, found.n_second)
    assert ("bootstrap", "permutation") == (found.interval.method, found.significance.method)
    assert found.significance.p < 0.01


def test_the_interval_agrees_with_student_for_many_queries() -> None:
    """That of a paired t test, but for chance and skew."""
    a, b = two_systems(1, 765, lead=0.02)

    found = compare(a, b, resamples=40_000)

    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert tuple(expected) == pytest.approx((found.interval.low, found.interval.high), abs=5e-4)


def test_pairing_narrows_the_interval() -> None:
    """It is narrower than that of two means that are independent."""
    a, b = two_systems(2, 400)

    found = compare(a, b)

    assert found.standard_error < 0.8 * np.hypot(stats.sem(a), stats.sem(b))


def test_clusters_widen_the_interval() -> None:
    """Each query five times is no more than each query once."""
    a, b = two_systems(3, 60)
    clusters = np.tile(np.arange(60), 5)

    once, five = compare(a, b), compare(np.tile(a, 5), np.tile(b, 5), clusters=clusters)

    assert once.standard_error == pytest.approx(five.standard_error)
    assert once.interval.high == pytest.approx(five.interval.high, abs=0.005)


def test_the_other_way_round_everything_is_mirrored() -> None:
    """The same draws serve both, so ``stb compare a b`` and ``b a`` agree to the last digit."""
    a, b = two_systems(4, 125, lead=0.03)

    there, back = compare(a, b, groups=GROUPS), compare(b, a, groups=GROUPS)

    assert (there.difference, there.n_first) == (-back.difference, back.n_second)
    assert (there.interval.low, there.interval.high) == (-back.interval.high, -back.interval.low)
    assert there.significance == back.significance


@pytest.mark.parametrize(("b", "c", "n"), [(2, 5, 20), (0, 0, 15), (0, 9, 100)])
def test_few_differences_get_the_interval_of_agresti_and_min(b: int, c: int, n: int) -> None:
    """Half a query is added to each cell of the two-by-two table (Statistics in Medicine 24, 2005)."""
    first = np.array([0.0] * b + [1.0] * c + [1.0] * (n - b - c))
    second = np.array([1.0] * b + [0.0] * c + [1.0] * (n - b - c))

    found = compare(first, second)

    centre = (c - b) / (n + 2)
    half = stats.norm.ppf(0.975) * np.sqrt(b + c + 1 - (c - b) ** 2 / (n + 2)) / (n + 2)
    assert (centre - half, centre + half) == pytest.approx((found.interval.low, found.interval.high))


def test_systems_that_agree_everywhere_are_not_equal_for_certain() -> None:
    """The interval is around 0, not 0 itself, and narrows with the number of queries."""
    few, many = (compare(np.ones(n), np.ones(n)) for n in (10, 1000))

    assert 1.0 == few.significance.p
    assert few.interval.low < -0.1 < 0.1 < few.interval.high
    assert -0.01 < many.interval.low < 0 < many.interval.high < 0.01


def test_a_lead_that_is_the_same_everywhere_is_not_certain() -> None:
    """Half a point on each of 100 queries: an interval, not a point, and no division by 0."""
    found, other = compare([1.0] * 100, [0.5] * 100), equivalence([1.0] * 100, [0.5] * 100, 0.6)

    assert found.interval.low < 0.5 < found.interval.high
    assert ("agresti-min", "agresti-min") == (found.interval.method, other.interval.method)
    assert 0 < other.p < 0.05


def test_one_query_is_compared_with_due_doubt() -> None:
    """p = 1 and an interval over most of the range."""
    found = compare([1.0], [0.0])

    assert 1.0 == found.significance.p
    assert found.interval.high - found.interval.low > 1


def test_every_two_systems_are_compared_in_one_go() -> None:
    """In the order of combinations; the difference and its standard error are those of the two alone."""
    a, b = two_systems(5, 125)
    scores = np.column_stack((a, b, a))

    found = compare_all(scores, design_of(125, groups=GROUPS))

    assert [(0, 1), (0, 2), (1, 2)] == [(c.first, c.second) for c in found]
    alone = compare(a, b, groups=GROUPS)
    assert (alone.difference, alone.standard_error) == (found[0].difference, found[0].standard_error)
    assert 0.0 == found[1].difference
    assert "agresti-min" == found[1].interval.method


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_an_interval_holds_the_difference(n: int, seed: int, grouped: bool, clustered: bool) -> None:
    """Whatever the scores, groups and clusters; p is in (0, 1]."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 3, (2, n)) / 2
    groups, clusters = (rng.integers(0, 4, n) if wanted else None for wanted in (grouped, clustered))

    found = compare(a, b, groups=groups, clusters=clusters, resamples=200)

    assert -1 <= found.interval.low <= found.difference + 1e-9
    assert found.difference - 1e-9 <= found.interval.high <= 1
    assert 0 < found.significance.p <= 1


def test_equivalence_agrees_with_statsmodels() -> None:
    """Two one-sided paired t tests; the interval of 90 % decides."""
    a, b = two_systems(6, 300)

    found = equivalence(a, b, 0.03)

    p, *_ = ttost_paired(a, b, -0.03, 0.03)
    assert p == pytest.approx(found.p)
    assert tuple(stats.ttest_rel(a, b).confidence_interval(0.9)) == pytest.approx(
        (found.interval.low, found.interval.high)
    )
    assert (p < 0.05) == found.equivalent == (max(-found.interval.low, found.interval.high) < 0.03)


def test_equal_answers_are_equivalent_only_on_enough_queries() -> None:
    """765 queries without a difference show it within 1.5 points, 20 do not."""
    assert equivalence(np.ones(765), np.ones(765), 0.015).equivalent
    assert not equivalence(np.ones(20), np.ones(20), 0.015).equivalent


def test_a_difference_is_not_equivalent() -> None:
    """Nor is one that is merely not significant."""
    a, b = two_systems(7, 60, lead=0.02)

    assert compare(a, b).significance.p > 0.05
    assert not equivalence(a, b, 0.015).equivalent


def test_what_cannot_be_compared_is_refused() -> None:
    """Other lengths, missing scores, scores out of range, a single system, a margin of 0."""
    with pytest.raises(ValueError, match="2 scores were given for 3"):
        compare([0, 1, 1], [0, 1])
    with pytest.raises(ValueError, match="missing"):
        compare([0, np.nan], [0, 1])
    with pytest.raises(ValueError, match="no score"):
        compare([], [])
    with pytest.raises(ValueError, match="between 0 and 1"):
        compare([0, 50], [0, 1])
    with pytest.raises(ValueError, match="two systems"):
        compare_all(np.zeros((5, 1)), design_of(5))
    with pytest.raises(ValueError, match="margin"):
        equivalence([0, 1], [0, 1], 0)


def test_the_real_cot_systems_are_not_distinguishable(real_data: Path) -> None:
    """765 recorded queries: the three CoT systems, 46.4 to 48.2 points, lie within each other's noise."""
    verdicts = real_verdicts.load(real_data)
    design = design_of(765, groups=verdicts.groups)

    found = compare_all(verdicts.scores[:, : real_verdicts.N_COT], design)

    assert [48.24, 46.40, 47.62] == pytest.approx(
        100 * design.estimate(verdicts.scores)[: real_verdicts.N_COT], abs=0.005
    )
    assert all(c.significance.p > 0.3 for c in found)
    assert all(c.interval.low < 0 < c.interval.high for c in found)
