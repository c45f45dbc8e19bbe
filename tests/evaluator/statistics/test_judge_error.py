"""A judge is held against human labels, and scores are corrected by what that shows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from stb_evaluator.statistics.intervals import wilson_interval
from stb_evaluator.statistics.judge_error import (
    Rate,
    judge_quality,
    ppi_mean,
)

NAN = np.nan


def some_labels(seed: int, n: int = 300, labelled: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Graded scores of a judge that is too kind, and labels of a random part."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4
    judged = np.clip(np.round(3 * (0.7 * truth + 0.25 + rng.normal(0, 0.2, n))) / 3, 0, 1)
    known = rng.permutation(n) < labelled
    return judged, np.where(known, truth.astype(float), NAN)


def test_sensitivity_and_specificity() -> None:
    """4 of 5 solved answers passed, 2 of 3 others failed; with Wilson's intervals."""
    labels = [True] * 5 + [False] * 3
    judged = [True] * 4 + [False] + [True] + [False] * 2

    found = judge_quality(judged, labels)

    assert Rate(4 / 5, wilson_interval(4 / 5, 5), 5) == found.sensitivity
    assert Rate(2 / 3, wilson_interval(2 / 3, 3), 3) == found.specificity
    assert Rate(6 / 8, wilson_interval(6 / 8, 8), 8) == found.accuracy


def test_a_rate_without_cases_is_unknown() -> None:
    """No answer that people call solved: no sensitivity."""
    found = judge_quality([1, 0], [0, 0])

    assert Rate(None, None, 0) == found.sensitivity
    assert 0.5 == found.specificity.value


def test_ppi_is_its_published_formula() -> None:
    """Mean of the judge elsewhere plus mean of label - judge (arXiv:2301.09633)."""
    judged, labels = some_labels(0)
    known = ~np.isnan(labels)

    found = ppi_mean(judged, labels, tuning=1)

    rectifier = labels[known] - judged[known]
    error = np.sqrt(judged.var(ddof=1) / 240 + rectifier.var(ddof=1) / 60 + 1 / 62**2)
    half = stats.t.ppf(0.975, 59) * error
    expected = judged[~known].mean() + rectifier.mean()
    assert expected == pytest.approx(found.value)
    assert (expected - half, expected + half) == pytest.approx((found.interval.low, found.interval.high))
    assert (error, 60) == (pytest.approx(found.standard_error), found.n_labelled)


def test_the_judge_is_given_the_weight_that_narrows_the_interval_most() -> None:
    """cov(label, judge) / ((1 + n/N) var(judge)) (arXiv:2311.01453); no other λ does better."""
    judged, labels = some_labels(1)
    known = ~np.isnan(labels)

    found = ppi_mean(judged, labels)

    shared = np.cov(labels[known], judged[known])[0, 1]
    assert shared / ((1 + 60 / 240) * judged.var(ddof=1)) == pytest.approx(found.tuning)
    others = [ppi_mean(judged, labels, tuning=weight).standard_error for weight in np.linspace(0, 1, 21)]
    assert found.standard_error <= min(others) + 1e-4
    assert found.standard_error < 0.8 * others[0]


def test_weight_0_is_the_labels_alone() -> None:
    """So it is for a judge that contradicts people, and where every query has a label."""
    judged, labels = some_labels(2)
    expected = np.nanmean(labels)

    assert expected == pytest.approx(ppi_mean(judged, labels, tuning=0).value)
    assert expected == pytest.approx(ppi_mean(1 - judged, labels).value)
    full = np.nan_to_num(labels)
    assert full.mean() == pytest.approx(ppi_mean(judged, full).value)


def test_groups_are_corrected_each_by_itself() -> None:
    """With a fixed weight the macro mean is that of the groups, and its variance too."""
    judged, labels = some_labels(3, 300, 90)
    groups = np.repeat(["a", "b"], [100, 200])

    found = ppi_mean(judged, labels, groups=groups, tuning=1)

    parts = [ppi_mean(judged[groups == g], labels[groups == g], tuning=1) for g in "ab"]
    assert np.mean([part.value for part in parts]) == pytest.approx(found.value)
    micro = ppi_mean(judged, labels, groups=groups, tuning=1, weighting="micro")
    assert np.average([part.value for part in parts], weights=[1, 2]) == pytest.approx(micro.value)


def test_a_few_labels_that_agree_do_not_make_the_judge_perfect() -> None:
    """Ten labels, all as judged: the interval is wider than that of 300 labels."""
    judged = np.tile([0.0, 1.0], 150)
    labels = np.where(np.arange(300) < 10, judged, NAN)

    found = ppi_mean(judged, labels)

    assert found.standard_error > 2 * judged.std() / np.sqrt(300)


@settings(deadline=None, max_examples=50)
@given(st.integers(3, 40), st.integers(0, 2**32 - 1))
def test_a_corrected_score_lies_in_its_interval(n: int, seed: int) -> None:
    """Few labels or many, λ always within [0, 1]."""
    rng = np.random.default_rng(seed)
    judged = rng.integers(0, 3, n) / 2
    labels = np.where(rng.permutation(n) < rng.integers(2, n + 1), rng.integers(0, 2, n), NAN)

    found = ppi_mean(judged, labels)

    assert found.interval.low < found.value < found.interval.high
    assert 0 <= found.tuning <= 1


def test_labels_that_are_too_few_are_refused() -> None:
    """Fewer than two in a group, none at all, or of another number than the queries."""
    with pytest.raises(ValueError, match="two labels"):
        ppi_mean([0, 1, 1], [1, NAN, NAN])
    with pytest.raises(ValueError, match="two labels"):
        ppi_mean([0, 1, 1, 0], [1, 1, NAN, NAN], groups=["a", "a", "b", "b"])
    with pytest.raises(ValueError, match="a label or NaN"):
        ppi_mean([0, 1, 1], [1, 0])
    with pytest.raises(ValueError, match="no score"):
        ppi_mean([], [])
    with pytest.raises(ValueError, match="weight of the judge"):
        ppi_mean([0, 1, 1], [1, 0, NAN], tuning=2)
    with pytest.raises(ValueError, match="true and false"):
        judge_quality([0.5, 1], [1, 0])
    with pytest.raises(ValueError, match="same answer"):
        judge_quality([1, 0, 1], [1, 0])
