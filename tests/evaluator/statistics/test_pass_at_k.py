"""pass@k and pass^k are unbiased, and agree with their published formulas."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stb_evaluator.statistics.pass_at_k import pass_at_k, pass_hat_k


@st.composite
def outcomes(draw: st.DrawFn) -> tuple[int, int, int]:
    """n trials, c solved, k drawn."""
    n = draw(st.integers(1, 12))
    return n, draw(st.integers(0, n)), draw(st.integers(1, n))


@given(outcomes())
def test_pass_at_k_is_the_formula_of_humaneval(case: tuple[int, int, int]) -> None:
    """1 - C(n - c, k) / C(n, k) (arXiv:2107.03374, equation 1)."""
    n, c, k = case

    assert 1 - math.comb(n - c, k) / math.comb(n, k) == pytest.approx(pass_at_k(n, [c], k)[0])


@given(outcomes())
def test_pass_hat_k_is_the_formula_of_tau_bench(case: tuple[int, int, int]) -> None:
    """C(c, k) / C(n, k) (arXiv:2406.12045)."""
    n, c, k = case

    assert math.comb(c, k) / math.comb(n, k) == pytest.approx(pass_hat_k(n, [c], k)[0])


def test_both_are_means_over_all_choices_of_k_trials() -> None:
    """Five trials, three of them solved: every two of them looked at."""
    solved = [True, True, False, True, False]
    chosen = list(combinations(solved, 2))

    assert np.mean([any(pair) for pair in chosen]) == pytest.approx(pass_at_k(5, [3], 2)[0])
    assert np.mean([all(pair) for pair in chosen]) == pytest.approx(pass_hat_k(5, [3], 2)[0])


def test_many_trials_do_not_overflow() -> None:
    """10,000 trials, as C(10000, 100) has 242 digits."""
    expected = 1 - math.comb(9_000, 100) / math.comb(10_000, 100)

    assert expected == pytest.approx(pass_at_k(10_000, [1_000], 100)[0])


def test_queries_may_have_other_numbers_of_trials() -> None:
    """One value per query, each by its own n."""
    assert [2 / 3, 1.0] == pytest.approx(pass_at_k([3, 4], [1, 3], 2).tolist())


def test_both_are_unbiased() -> None:
    """Over 200,000 queries solved with 30 %, k = 3 of 5 trials: 1 - 0.7³ and 0.3³."""
    solved = np.random.default_rng(0).binomial(5, 0.3, 200_000)

    assert 1 - 0.7**3 == pytest.approx(pass_at_k(5, solved, 3).mean(), abs=0.003)
    assert 0.3**3 == pytest.approx(pass_hat_k(5, solved, 3).mean(), abs=0.001)


@given(outcomes())
def test_failing_is_solving_seen_from_the_other_side(case: tuple[int, int, int]) -> None:
    """At least one of k solves unless all k fail; both are the solve rate at k = 1."""
    n, c, k = case

    assert 1 - pass_hat_k(n, [n - c], k)[0] == pytest.approx(pass_at_k(n, [c], k)[0])
    assert c / n == pytest.approx(pass_at_k(n, [c], 1)[0]) == pytest.approx(pass_hat_k(n, [c], 1)[0])


@pytest.mark.parametrize(
    ("n", "c", "k", "message"),
    [
        (3, [1], 4, "k = 4"),
        (3, [1], 0, "k = 0"),
        ([3, 2], [1, 1], 3, "k = 3"),
        (3, [4], 1, "whole numbers"),
        (3, [-1], 1, "whole numbers"),
        (3, [0.5], 1, "whole numbers"),
        (3, [math.nan], 1, "whole numbers"),
        (3, [], 1, "at least one query"),
    ],
)
def test_impossible_numbers_are_refused(n: object, c: list[float], k: int, message: str) -> None:
    """More draws than trials, more solved than tried, parts of a trial, no query."""
    with pytest.raises(ValueError, match=message):
        pass_at_k(n, c, k)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        pass_hat_k(n, c, k)  # type: ignore[arg-type]
