"""Tests of paired differences agree with published examples and with scipy and statsmodels."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from stb_evaluator.statistics.sampling import Design, design_of
from stb_evaluator.statistics.significance import Significance, mcnemar, sign_flip_tests

STEPS = st.sampled_from([-1, -1 / 2, -1 / 3, -1 / 6, 0, 1 / 6, 1 / 3, 1 / 2, 1])


def sign_flip_test(differences: ArrayLike, design: Design, resamples: int = 10_000) -> Significance:
    """The test of a single column."""
    return sign_flip_tests(np.asarray(differences)[:, None], design, resamples=resamples)[0]


def test_darwins_maize() -> None:
    """Fisher's own example, The Design of Experiments, section 21: 15 pairs, p = 0.0526."""
    eighths = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]

    found = sign_flip_test(eighths, design_of(15))

    assert Significance(1726 / 2**15, "exact permutation") == found


def test_the_exact_test_agrees_with_scipy() -> None:
    """All sign assignments, ties included."""
    differences = np.random.default_rng(0).integers(-3, 4, 11) / 6

    found = sign_flip_test(differences, design_of(11))

    expected = stats.permutation_test(
        (differences,), lambda d, axis: d.sum(axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    assert expected.pvalue == pytest.approx(found.p)


@settings(deadline=None, max_examples=50)
@given(st.lists(STEPS, min_size=1, max_size=9), st.booleans())
def test_the_exact_test_is_the_share_of_sign_assignments(steps: list[float], grouped: bool) -> None:
    """Written out one by one, with the weights of groups."""
    differences, groups = np.array(steps), np.arange(len(steps)) % 2 if grouped else np.zeros(len(steps))
    design = design_of(len(steps), groups=groups)

    found = sign_flip_test(differences, design)

    seen = abs(design.weights @ differences)
    flips = [abs(design.weights @ (differences * signs)) for signs in product((1, -1), repeat=len(steps))]
    assert np.mean([flip >= seen - 1e-12 for flip in flips]) == pytest.approx(found.p)


def test_the_drawn_test_agrees_with_the_exact_one() -> None:
    """16 queries that differ are counted out, 17 are drawn; a tiny 17th changes nothing else."""
    differences = np.random.default_rng(5).normal(0.3, 1, 16)

    exact = sign_flip_test(differences, design_of(16))
    drawn = sign_flip_test([*differences, 1e-12], design_of(17), resamples=50_000)

    assert ("exact permutation", "permutation") == (exact.method, drawn.method)
    assert exact.p == pytest.approx(drawn.p, abs=0.005)


def test_the_drawn_test_agrees_with_student_for_many_queries() -> None:
    """765 queries: p of a paired t test, but for chance."""
    differences = np.random.default_rng(3).integers(-6, 7, 765) / 6

    found = sign_flip_test(differences, design_of(765), resamples=50_000)

    assert stats.ttest_1samp(differences, 0).pvalue == pytest.approx(found.p, abs=0.01)


def test_clusters_change_sign_as_a_whole() -> None:
    """Ten copies of four differences are four units: p cannot fall below 1/8."""
    differences = np.repeat([0.5, 0.3, 0.8, 0.1], 10)

    found = sign_flip_test(differences, design_of(40, clusters=np.repeat(range(4), 10)))

    assert 1 / 8 == found.p


def test_groups_weigh_as_they_do_in_the_score() -> None:
    """Two queries of a small group outweigh six of a large one that go the other way."""
    differences, groups = np.array([1.0, 1.0, *[-1.0] * 3, *[0.0] * 37]), ["a"] * 2 + ["b"] * 40

    macro = sign_flip_test(differences, design_of(42, groups=groups))
    micro = sign_flip_test(differences, design_of(42, groups=groups, weighting="micro"))

    assert 1 / 2 == macro.p
    assert 1.0 == micro.p


def test_no_difference_has_p_1() -> None:
    """The same answers everywhere, and a single query too."""
    assert 1.0 == sign_flip_test(np.zeros(500), design_of(500)).p
    assert 1.0 == sign_flip_test([1.0], design_of(1)).p


def test_p_is_never_0() -> None:
    """100 of 100 queries won: one in resamples + 1."""
    assert 1 / 1001 == pytest.approx(sign_flip_test(np.ones(100), design_of(100), resamples=1000).p)


def test_columns_are_tested_side_by_side() -> None:
    """Exact where few queries differ and drawn elsewhere, each as it would be alone."""
    rng = np.random.default_rng(0)
    many, few = rng.integers(-3, 4, 200) / 6, np.array([0.5] * 6 + [0] * 194)

    found = sign_flip_tests(np.column_stack((many, few, -many)), design_of(200))

    assert Significance(1 / 32, "exact permutation") == found[1]
    assert found[0] == found[2]
    assert sign_flip_test(many, design_of(200)).p == pytest.approx(found[0].p, abs=0.02)


def test_a_missing_score_is_refused() -> None:
    """Instead of a p that is NaN."""
    with pytest.raises(ValueError, match="missing"):
        sign_flip_test([0.5, np.nan], design_of(2))


def test_mcnemar_on_published_counts() -> None:
    """1 and 7 children: exact 0.0703, mid-p 0.0391 (Fagerland and others, BMC Medical Research Methodology 13:91)."""
    assert 0.0703 == pytest.approx(mcnemar(1, 7, mid_p=False).p, abs=5e-5)
    assert 0.0391 == pytest.approx(mcnemar(7, 1).p, abs=5e-5)


@given(st.integers(0, 300), st.integers(0, 300))
@settings(deadline=None, max_examples=50)
def test_mcnemar_agrees_with_statsmodels(first: int, second: int) -> None:
    """The exact test; the mid-p is smaller and, like it, the same for both systems."""
    expected = statsmodels_mcnemar([[5, first], [second, 5]], exact=True).pvalue

    assert min(1, expected) == pytest.approx(mcnemar(first, second, mid_p=False).p)
    assert mcnemar(first, second).p == pytest.approx(mcnemar(second, first).p)
    assert 0 < mcnemar(first, second).p <= mcnemar(first, second, mid_p=False).p


def test_mcnemar_without_a_difference() -> None:
    """p = 1 where no query sets the systems apart; counts below 0 are refused."""
    assert Significance(1.0, "McNemar mid-p") == mcnemar(0, 0)
    with pytest.raises(ValueError, match="not negative"):
        mcnemar(-1, 2)
