"""Many comparisons at once: adjusted p-values, and bounds for the rank of each system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from stb_evaluator.statistics.sampling import LEVEL, Array, Codes


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


def rank_bounds(
    pairs: Sequence[tuple[int, int, float, float]], *, level: float = LEVEL
) -> list[RankInterval]:
    """Bounds that hold for all ranks together: a system can pass only those that are not proven better.

    ``pairs`` holds (first, second, difference, p) of every two systems, each pair once, in the order of
    ``itertools.combinations``; ValueError for anything else. With Holm's adjustment every claim "better"
    is right with probability ``level``, and so are all bounds (Mogstad, Romano, Shaikh and Wilhelm, Review
    of Economic Studies 91, 2024; without ties in truth).
    """
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


def _in_order(sorted_values: Array, order: Codes) -> Array:
    adjusted = np.empty_like(sorted_values)
    adjusted[order] = sorted_values
    return adjusted


def _probabilities(p_values: ArrayLike) -> Array:
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or len(p) == 0 or not np.all((p >= 0) & (p <= 1)):
        raise ValueError("A list of p-values, each between 0 and 1, is needed.")
    return p
