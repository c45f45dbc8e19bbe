"""Adjusted p-values agree with independent implementations, and rank bounds say what is proven."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

import real_verdicts
from stb_evaluator.statistics.multiplicity import (
    RankInterval,
    benjamini_hochberg,
    holm,
    rank_bounds,
    rank_intervals,
)
from stb_evaluator.statistics.paired import compare_all
from stb_evaluator.statistics.sampling import design_of

P_VALUES = st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.01, 0.05, 1.0]), min_size=1, max_size=20)


@pytest.mark.parametrize("p_values", [[0.03], [0.01, 0.04, 0.03, 0.005, 0.5], [0.02, 0.02, 0, 1, 1]])
def test_holm_agrees_with_statsmodels(p_values: list[float]) -> None:
    """In the order given, ties and edges included."""
    assert multipletests(p_values, method="holm")[1] == pytest.approx(holm(p_values))


@settings(deadline=None)
@given(P_VALUES, st.sampled_from([0.01, 0.05, 0.3]))
def test_holm_steps_down(p_values: list[float], alpha: float) -> None:
    """It rejects the smallest at alpha / n, the next at alpha / (n - 1), until one is not rejected."""
    rejected = [False] * len(p_values)
    for left, place in zip(range(len(p_values), 0, -1), np.argsort(p_values, kind="stable"), strict=True):
        if p_values[place] * left > alpha:
            break
        rejected[place] = True

    assert rejected == (holm(p_values) <= alpha).tolist()


@settings(deadline=None)
@given(P_VALUES)
def test_benjamini_hochberg_agrees_with_scipy(p_values: list[float]) -> None:
    """In the order given, ties and edges included."""
    assert stats.false_discovery_control(p_values) == pytest.approx(benjamini_hochberg(p_values))


def test_benjamini_hochberg_on_its_first_example() -> None:
    """15 comparisons of which four are found at 5 %, and three by Holm (JRSS B 57, 1995)."""
    p_values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    p_values += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000]

    assert 4 == (benjamini_hochberg(p_values) <= 0.05).sum()
    assert 3 == (holm(p_values) <= 0.05).sum()


@given(P_VALUES)
def test_adjusting_never_lowers_p(p_values: list[float]) -> None:
    """Holm's values are the greatest, and all stay in the order of the raw ones."""
    raw, fdr, fwer = np.array(p_values), benjamini_hochberg(p_values), holm(p_values)

    assert np.all((raw <= fdr + 1e-12) & (fdr <= fwer + 1e-12) & (fwer <= 1))
    assert np.all(np.diff(fwer[np.argsort(raw, kind="stable")]) >= 0)


@pytest.mark.parametrize("p_values", [[], [0.5, np.nan], [-0.1], [1.1], [[0.5]]])
def test_what_are_no_p_values_is_refused(p_values: list[float]) -> None:
    """Empty, missing, out of range, not a list."""
    with pytest.raises(ValueError, match="p-values"):
        holm(p_values)
    with pytest.raises(ValueError, match="p-values"):
        benjamini_hochberg(p_values)


def test_ranks_of_systems_far_apart_are_certain() -> None:
    """Each rank is a single one, by either method; the first column need not be the best."""
    rng = np.random.default_rng(0)
    scores = np.clip(np.array([0.5, 0.1, 0.9]) + rng.normal(0, 0.05, (200, 3)), 0, 1)
    design = design_of(200)

    expected = [RankInterval(2, 2, 2), RankInterval(3, 3, 3), RankInterval(1, 1, 1)]
    assert expected == rank_intervals(scores, design)
    assert expected == rank_bounds(compare_all(scores, design))


def test_equal_systems_share_their_ranks() -> None:
    """Both are first, and either may be second."""
    scores = np.random.default_rng(1).random((100, 1)).repeat(2, axis=1)
    design = design_of(100)

    expected = [RankInterval(1, 1, 2), RankInterval(1, 1, 2)]
    assert expected == rank_intervals(scores, design)
    assert expected == rank_bounds(compare_all(scores, design))


def test_bounds_for_all_ranks_together_are_the_wider_ones() -> None:
    """They allow for choosing among the systems after the fact."""
    rng = np.random.default_rng(2)
    scores = np.clip(0.5 + 0.02 * np.arange(6) + rng.normal(0, 0.3, (300, 6)), 0, 1)
    design = design_of(300)

    alone, together = rank_intervals(scores, design), rank_bounds(compare_all(scores, design))

    pairs = list(zip(alone, together, strict=True))
    assert all(wide.low <= narrow.low and narrow.high <= wide.high for narrow, wide in pairs)
    assert all(bounds.low <= bounds.rank <= bounds.high for bounds in [*alone, *together])


def test_bounds_need_every_pair() -> None:
    """A pair that was not tested leaves its ranks unknown."""
    comparisons = compare_all(np.random.default_rng(3).random((50, 3)), design_of(50))

    with pytest.raises(ValueError, match="every two systems"):
        rank_bounds(comparisons[:2])
    with pytest.raises(ValueError, match="every two systems"):
        rank_bounds([])


def test_the_ranks_of_the_real_systems(real_data: Path) -> None:
    """Any DFS system may be the best, and no CoT system; seven or eight pairs of 15 cannot be told apart."""
    verdicts = real_verdicts.load(real_data)
    design = design_of(765, groups=verdicts.groups)

    comparisons = compare_all(verdicts.scores, design)

    cot, dfs = np.split(np.array([(b.low, b.high) for b in rank_bounds(comparisons)]), [real_verdicts.N_COT])
    assert np.all(dfs[:, 0] == 1)
    assert np.all(cot[:, 0] >= 3)
    assert np.all(cot[:, 1] == 6)
    assert sum(p > 0.05 for p in holm([c.significance.p for c in comparisons])) in {7, 8}
