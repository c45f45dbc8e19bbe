"""Do the rounds of a judge, or several judges, say the same? Agreement beyond what chance gives.

Ratings are numbers, one row per item (answer) and one column per rater (round or judge): points of
verdicts, say. NaN is a rating that is missing. Where all ratings are the same the kappas and alpha are
0/0: ValueError, for agreement that could not have failed to occur says nothing about the judge.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from stb_evaluator.statistics.sampling import Array

RatingScale = Literal["nominal", "ordinal", "interval"]
Weights = Literal["linear", "quadratic"]


def unanimous_share(ratings: ArrayLike) -> float:
    """The share of items, of those with two ratings or more, whose ratings are all equal; in [0, 1]."""
    counts, _ = _tally(ratings)
    n = counts.sum(axis=1)
    return float((counts.max(axis=1) == n)[n >= 2].mean())


def fleiss_kappa(ratings: ArrayLike) -> float:
    """Fleiss' kappa for categories without order; ratings: (items, raters), none missing; at most 1.

    Fleiss (Psychological Bulletin 76, 1971). Raters need not be the same people for every item.
    ``fleiss_kappa_of_counts`` takes counts instead of ratings.
    """
    if np.isnan(np.asarray(ratings, dtype=np.float64)).any():
        raise ValueError("Fleiss' kappa needs every rating; Krippendorff's alpha allows missing ones.")
    return fleiss_kappa_of_counts(_tally(ratings)[0])


def fleiss_kappa_of_counts(counts: ArrayLike) -> float:
    """Fleiss' kappa; counts: (items, categories), how many raters chose a category, equal sums of rows."""
    table = np.asarray(counts, dtype=np.float64)
    if table.ndim != 2 or len(table) == 0:
        raise ValueError("Agreement needs a table with a row for each item.")
    raters = table.sum(axis=1)
    if raters[0] < 2 or np.any(raters != raters[0]):
        raise ValueError("Fleiss' kappa needs two ratings or more of each item, of all the same number.")
    observed = float((((table**2).sum(axis=1) / raters[0] - 1) / (raters[0] - 1)).mean())
    expected = float(((table.sum(axis=0) / table.sum()) ** 2).sum())
    return _beyond_chance(1 - observed, 1 - expected)


def cohen_kappa(a: ArrayLike, b: ArrayLike, *, weights: Weights | None = None) -> float:
    """Cohen's kappa of two raters; a, b: (items,), none missing; in [-1, 1].

    Cohen (Educational and Psychological Measurement 20, 1960). With ``weights`` the distance between
    the ranks of two ratings, or its square, says how much they disagree (Psychological Bulletin 70,
    1968).
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape or len(first) == 0:
        raise ValueError("Cohen's kappa needs one rating of each item from both raters.")
    if np.isnan(first).any() or np.isnan(second).any():
        raise ValueError("Cohen's kappa needs every rating; Krippendorff's alpha allows missing ones.")
    categories, codes = np.unique(np.concatenate((first, second)), return_inverse=True)
    size, n = len(categories), len(first)
    joint = np.bincount(codes[:n] * size + codes[n:], minlength=size * size).reshape(size, size) / n
    apart = np.abs(np.subtract.outer(np.arange(size), np.arange(size))).astype(np.float64)
    distance = {None: np.minimum(apart, 1), "linear": apart, "quadratic": apart**2}[weights]
    chance = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    return _beyond_chance(float((distance * joint).sum()), float((distance * chance).sum()))


def krippendorff_alpha(ratings: ArrayLike, *, metric: RatingScale = "nominal") -> float:
    """Krippendorff's alpha; ratings: (items, raters), NaN where missing; at most 1.

    ``metric`` is how far two ratings are apart: not at all alike (nominal), by rank (ordinal), or by
    the square of their difference (interval). Items with a single rating do not count (Krippendorff,
    "Computing Krippendorff's Alpha-Reliability", 2011; section D).
    """
    counts, values = _tally(ratings)
    raters = counts.sum(axis=1)
    counts, raters = counts[raters >= 2], raters[raters >= 2]
    totals = counts.sum(axis=0)
    n = float(totals.sum())
    pairs = (counts / (raters - 1)[:, None]).T @ counts
    pairs[np.diag_indices_from(pairs)] -= (counts / (raters - 1)[:, None]).sum(axis=0)
    distance = _distances(values, totals, metric)
    chance = np.outer(totals, totals) / (n - 1)
    return _beyond_chance(float((distance * pairs).sum() / n), float((distance * chance).sum() / n))


def _distances(values: Array, totals: Array, metric: RatingScale) -> Array:
    """Squared distances between every two categories, shape (categories, categories)."""
    if metric == "nominal":
        return 1.0 - np.eye(len(values))
    if metric == "ordinal":
        values = np.cumsum(totals) - totals / 2
    return np.asarray(np.subtract.outer(values, values) ** 2, dtype=np.float64)


def _tally(ratings: ArrayLike) -> tuple[Array, Array]:
    """How often each item got each value, shape (items, values), and the values in order."""
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError("Ratings are a table of items by raters.")
    known = ~np.isnan(table)
    if not (known.sum(axis=1) >= 2).any():
        raise ValueError("Agreement needs an item with two ratings or more.")
    values, codes = np.unique(table[known], return_inverse=True)
    items = np.nonzero(known)[0]
    counts = np.bincount(items * len(values) + codes, minlength=len(table) * len(values))
    return counts.reshape(len(table), len(values)).astype(np.float64), values


def _beyond_chance(observed: float, expected: float) -> float:
    """1 - observed / expected disagreement."""
    if expected <= 0:
        raise ValueError("All ratings are the same: whether the raters can disagree is unknown.")
    return 1 - observed / expected
