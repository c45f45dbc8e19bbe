"""Adjusted p-values agree with independent implementations, and rank bounds say what is proven."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

import real_verdicts
from stb_evaluator.statistics.multiplicity import (
    RankInterval,
    holm,
    rank_bounds,
)
from stb_evaluator.statistics.paired import compare_all
from stb_evaluator.statistics.sampling import Design, design_of

P_VALUES = st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.01, 0.05, 1.0]), min_size=1, max_size=20)


def pairs_of(scores: np.ndarray, design: Design) -> list[tuple[int, int, float, float]]:
    """(first, second, difference, p) of every two systems; scores: (n, systems)."""
    return [(c.first, c.second, c.difference, c.significance.p) for c in compare_all(scores, design)]


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


@given(P_VALUES)
def test_adjusting_never_lowers_p(p_values: list[float]) -> None:
    """And leaves the order of the raw ones."""
    raw, fwer = np.array(p_values), holm(p_values)

    assert np.all((raw <= fwer + 1e-12) & (fwer <= 1))
    assert np.all(np.diff(fwer[np.argsort(raw, kind="stable")]) >= 0)


@pytest.mark.parametrize("p_values", [[], [0.5, np.nan], [-0.1], [1.1], [[0.5]]])
def test_what_are_no_p_values_is_refused(p_values: list[float]) -> None:
    """Empty, missing, out of range, not a list."""
    with pytest.raises(ValueError, match="p-values"):
        holm(p_values)


def test_ranks_of_systems_far_apart_are_certain() -> None:
    """Each rank is a single one; the first column need not be the best."""
    rng = np.random.default_rng(0)
    scores = np.clip(np.array([0.5, 0.1, 0.9]) + rng.normal(0, 0.05, (200, 3)), 0, 1)
    design = design_of(200)

    expected = [RankInterval(2, 2, 2), RankInterval(3, 3, 3), RankInterval(1, 1, 1)]
    assert expected == rank_bounds(pairs_of(scores, design))


def test_equal_systems_share_their_ranks() -> None:
    """Both are first, and either may be second."""
    scores = np.random.default_rng(1).random((100, 1)).repeat(2, axis=1)
    design = design_of(100)

    expected = [RankInterval(1, 1, 2), RankInterval(1, 1, 2)]
    assert expected == rank_bounds(pairs_of(scores, design))


def test_bounds_need_every_pair() -> None:
    """A pair that was not tested leaves its ranks unknown."""
    pairs = pairs_of(np.random.default_rng(3).random((50, 3)), design_of(50))

    with pytest.raises(ValueError, match="every two systems"):
        rank_bounds(pairs[:2])
    with pytest.raises(ValueError, match="every two systems"):
        rank_bounds([])


def test_the_ranks_of_the_real_systems(real_data: Path) -> None:
    """Any DFS system may be the best, and no CoT system; seven or eight pairs of 15 cannot be told apart."""
    verdicts = real_verdicts.load(real_data)
    design = design_of(765, groups=verdicts.groups)

    pairs = pairs_of(verdicts.scores, design)

    cot, dfs = np.split(np.array([(b.low, b.high) for b in rank_bounds(pairs)]), [real_verdicts.N_COT])
    assert np.all(dfs[:, 0] == 1)
    assert np.all(cot[:, 0] >= 3)
    assert np.all(cot[:, 1] == 6)
    assert sum(p > 0.05 for p in holm([p for *_, p in pairs])) in {7, 8}
