"""Many comparisons at once: adjusted p-values, and between which ranks each system can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from stb_evaluator.statistics.intervals import tail_of
from stb_evaluator.statistics.paired import Comparison
from stb_evaluator.statistics.sampling import LEVEL, RESAMPLES, Array, Codes, Design, Seed, finite


@dataclass(frozen=True)
class RankInterval:
    """The rank of a system, 1 for the best score (ties share the better rank), and its bounds."""

    rank: int
    low: int
    high: int


def holm(p_values: ArrayLike) -> Array:
    """Adjusted p-values; rejecting those below alpha errs with at most that probability over all of them.

    Holm (Scandinavian Journal of Statistics 6, 1979); holds under any dependence. p_values: (n,) in
    [0, 1], and the result in the same order. ValueError for anything else.
    """
    p = _probabilities(p_values)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return _in_order(np.minimum(stepped, 1), order)


def benjamini_hochberg(p_values: ArrayLike) -> Array:
    """Adjusted p-values; of those below alpha a share of at most alpha is expected to be false.

    Benjamini and Hochberg (JRSS B 57, 1995); holds for independent or positively dependent tests.
    Weaker than Holm's promise: for looking through many hypotheses, not for claims.
    """
    p = _probabilities(p_values)
    order = np.argsort(p, kind="stable")[::-1]
    stepped = np.minimum.accumulate(p[order] * len(p) / np.arange(len(p), 0, -1))
    return _in_order(np.minimum(stepped, 1), order)


def rank_intervals(
    scores: ArrayLike,
    design: Design,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: Seed = 0,
) -> list[RankInterval]:
    """Ranks over bootstrap draws of the queries, system by system; scores: (n, systems).

    It shows how the ranking would shake on other queries. Each interval stands alone, and is too
    short where systems are nearly equal (Goldstein and Spiegelhalter, JRSS A 159, 1996; Hall and
    Miller, Annals of Statistics 37, 2009): for a claim use ``rank_bounds``.
    """
    values = finite(scores, design.n)
    tail = tail_of(level)
    draws = design.bootstrap(values, resamples=resamples, seed=seed)
    best, worst = _ranks(draws, "min"), _ranks(draws, "max")
    low = np.quantile(best, tail, axis=0, method="inverted_cdf")
    high = np.quantile(worst, 1 - tail, axis=0, method="inverted_cdf")
    return [
        RankInterval(int(rank), int(a), int(b))
        for rank, a, b in zip(_ranks(design.estimate(values), "min"), low, high, strict=True)
    ]


def rank_bounds(comparisons: Sequence[Comparison], *, level: float = LEVEL) -> list[RankInterval]:
    """Bounds that hold for all ranks together: a system can pass only those that are not proven better.

    ``comparisons`` are those of ``compare_all``, every two systems once. With Holm's adjustment every
    claim "better" is right with probability ``level``, and so are all bounds (Mogstad, Romano, Shaikh
    and Wilhelm, Review of Economic Studies 91, 2024; without ties in truth).
    """
    return bounds_of([(c.first, c.second, c.difference, c.significance.p) for c in comparisons], level=level)


def bounds_of(pairs: Sequence[tuple[int, int, float, float]], *, level: float = LEVEL) -> list[RankInterval]:
    """As ``rank_bounds``, from (first, second, difference, p) of every two systems."""
    systems = 1 + max((second for _, second, _, _ in pairs), default=0)
    if systems < 2 or sorted(pair[:2] for pair in pairs) != list(combinations(range(systems), 2)):
        raise ValueError("Rank bounds need the comparison of every two systems, once each.")
    ahead = np.zeros((systems, systems))
    proven = np.zeros((systems, systems), dtype=bool)
    for (first, second, difference, _), p in zip(pairs, holm([p for *_, p in pairs]), strict=True):
        better, worse = (second, first) if difference < 0 else (first, second)
        ahead[better, worse] = difference != 0
        proven[better, worse] = p <= 1 - level and difference != 0
    ranks = 1 + ahead.sum(axis=0)
    low, high = 1 + proven.sum(axis=0), systems - proven.sum(axis=1)
    return [RankInterval(int(r), int(a), int(b)) for r, a, b in zip(ranks, low, high, strict=True)]


def _ranks(values: Array, ties: str) -> Array:
    """1 for the greatest along the last axis; values that differ by rounding alone are ties."""
    from scipy import stats  # noqa: PLC0415 - takes a second to import, and ranks are rarely needed

    return np.asarray(stats.rankdata(-np.round(values, 12), axis=-1, method=ties))


def _in_order(sorted_values: Array, order: Codes) -> Array:
    adjusted = np.empty_like(sorted_values)
    adjusted[order] = sorted_values
    return adjusted


def _probabilities(p_values: ArrayLike) -> Array:
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or len(p) == 0 or not np.all((p >= 0) & (p <= 1)):
        raise ValueError("A list of p-values, each between 0 and 1, is needed.")
    return p
