"""Coefficients of agreement give the values published for known data."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import cohens_kappa

import real_verdicts
from stb_evaluator.statistics.agreement import (
    cohen_kappa,
    fleiss_kappa,
    fleiss_kappa_of_counts,
    krippendorff_alpha,
    unanimous_share,
)

NAN = np.nan
# Six psychiatrists each on 30 patients, five diagnoses: Fleiss (Psychological Bulletin 76, 1971), table 1.
DIAGNOSES = """444444 222555 233335 555555 222444 113333 333355 113334 114444 555555 144444 124444 222333
144444 224445 333335 111455 111112 224444 133555 555555 244444 224555 114444 144445 222224 111155 224444
133333 555555"""
# Four observers (columns) of twelve units: Krippendorff, "Computing Krippendorff's Alpha-Reliability", C.
RELIABILITY = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
).T
RATINGS = st.lists(
    st.lists(st.sampled_from([0, 0.5, 1, NAN]), min_size=3, max_size=3), min_size=2, max_size=12
)


def test_fleiss_on_his_own_data() -> None:
    """κ = 0.430."""
    ratings = [[int(digit) for digit in patient] for patient in DIAGNOSES.split()]

    assert 0.430 == pytest.approx(fleiss_kappa(ratings), abs=5e-4)


def test_fleiss_of_counts() -> None:
    """14 raters, ten subjects, five categories: κ = 0.210, a much reproduced example."""
    counts = [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]

    assert 0.210 == pytest.approx(fleiss_kappa_of_counts(counts), abs=5e-4)


@pytest.mark.parametrize(("metric", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_krippendorff_on_his_own_data(metric: str, alpha: float) -> None:
    """With missing ratings, at three levels of measurement."""
    found = krippendorff_alpha(RELIABILITY, metric=metric)  # type: ignore[arg-type]

    assert alpha == pytest.approx(found, abs=5e-4)


@settings(deadline=None)
@given(RATINGS)
def test_alpha_is_one_less_the_ratio_of_disagreements(ratings: list[list[float]]) -> None:
    """Written out over pairs of ratings: within units, and among all that can be paired."""
    units = [[value for value in unit if value == value] for unit in ratings]
    units = [unit for unit in units if len(unit) > 1]
    every = [value for unit in units for value in unit]
    if len(set(every)) < 2:
        with pytest.raises(ValueError, match=r"same|two ratings"):
            krippendorff_alpha(ratings, metric="interval")
        return

    within = sum((a - b) ** 2 / (len(unit) - 1) for unit in units for a, b in permutations(unit, 2))
    among = sum((a - b) ** 2 for a, b in permutations(every, 2)) / (len(every) - 1)

    assert 1 - within / among == pytest.approx(krippendorff_alpha(ratings, metric="interval"))


def test_alpha_and_kappa_are_nearly_one_for_many_answers() -> None:
    """Without missing ratings, alpha = κ + (1 - κ) / (number of ratings)."""
    ratings = np.random.default_rng(0).integers(0, 3, (200, 3))
    kappa = fleiss_kappa(ratings)

    assert kappa + (1 - kappa) / 600 == pytest.approx(krippendorff_alpha(ratings))


@pytest.mark.parametrize("weights", [None, "linear", "quadratic"])
def test_cohen_agrees_with_statsmodels(weights: str | None) -> None:
    """Unweighted, and weighted by the distance of ranks."""
    rng = np.random.default_rng(1)
    a = rng.integers(0, 3, 120)
    b = np.where(rng.random(120) < 0.6, a, rng.integers(0, 3, 120))
    table = np.histogram2d(a, b, bins=3)[0]
    wt = {None: None, "linear": "linear", "quadratic": "quadratic"}[weights]

    found = cohen_kappa(a, b, weights=weights)  # type: ignore[arg-type]

    assert cohens_kappa(table, wt=wt).kappa == pytest.approx(found)


def test_cohen_on_a_textbook_table() -> None:
    """50 applications, 20 granted by both readers and 15 refused by both: κ = 0.40."""
    a, b = [1] * 25 + [0] * 25, [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15

    assert 0.40 == pytest.approx(cohen_kappa(a, b))


def test_full_agreement_and_full_disagreement() -> None:
    """1 for raters who always agree; two raters who never do, on even halves, are at -1."""
    same, other = np.array([0, 1, 0.5, 1]), np.array([0, 1, 0, 1])

    assert 1.0 == fleiss_kappa(np.column_stack((same, same, same)))
    assert 1.0 == krippendorff_alpha(np.column_stack((same, same)), metric="ordinal")
    assert -1.0 == cohen_kappa(other, 1 - other)


def test_unanimous_items() -> None:
    """Two of three; the item with one rating is not counted."""
    ratings = [[1, 1, 1], [0, 0, NAN], [0, 0.5, 0], [1, NAN, NAN]]

    assert 2 / 3 == unanimous_share(ratings)


@settings(deadline=None)
@given(RATINGS, st.permutations(range(3)))
def test_raters_are_interchangeable(ratings: list[list[float]], order: list[int]) -> None:
    """Which round came first does not matter."""
    turned = np.array(ratings)[:, order]
    try:
        expected = krippendorff_alpha(ratings, metric="ordinal")
    except ValueError:
        return

    assert expected == pytest.approx(krippendorff_alpha(turned, metric="ordinal"))
    assert unanimous_share(ratings) == unanimous_share(turned)


def test_agreement_that_could_not_fail_is_refused() -> None:
    """All ratings the same: no coefficient; but the share that is unanimous is 1."""
    alike = np.ones((5, 3))

    for coefficient in (fleiss_kappa, krippendorff_alpha):
        with pytest.raises(ValueError, match="same"):
            coefficient(alike)
    with pytest.raises(ValueError, match="same"):
        cohen_kappa([1, 1], [1, 1])
    assert 1.0 == unanimous_share(alike)


def test_what_is_not_a_table_of_ratings_is_refused() -> None:
    """One rater, no items, ratings missing where none may be, raters of unequal number."""
    with pytest.raises(ValueError, match="two ratings"):
        krippendorff_alpha([[1], [0]])
    with pytest.raises(ValueError, match="two ratings"):
        unanimous_share(np.empty((0, 3)))
    with pytest.raises(ValueError, match="table"):
        fleiss_kappa([1, 0])
    with pytest.raises(ValueError, match="every rating"):
        fleiss_kappa([[1, NAN], [0, 1]])
    with pytest.raises(ValueError, match="same number"):
        fleiss_kappa_of_counts([[2, 1], [1, 1]])
    with pytest.raises(ValueError, match="both raters"):
        cohen_kappa([1, 0], [1])
    with pytest.raises(ValueError, match="every rating"):
        cohen_kappa([1, NAN], [1, 0])


def test_the_rounds_of_the_real_judge(real_data: Path) -> None:
    """4,590 answers in three rounds: 16.4 % not unanimous, κ 0.786; where it was asked, 18.6 % and 0.751."""
    verdicts = real_verdicts.load(real_data)
    rounds, asked = verdicts.points.reshape(-1, 3), verdicts.points[verdicts.finished]

    assert 0.836 == pytest.approx(unanimous_share(rounds), abs=5e-4)
    assert 0.786 == pytest.approx(fleiss_kappa(rounds), abs=5e-4)
    assert 0.828 == pytest.approx(krippendorff_alpha(rounds, metric="ordinal"), abs=5e-4)
    assert 0.814 == pytest.approx(unanimous_share(asked), abs=5e-4)
    assert 0.751 == pytest.approx(fleiss_kappa(asked), abs=5e-4)
