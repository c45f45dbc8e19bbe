"""How sure is a mean score: intervals for one group of queries, and for a mean over groups.

The unit is the query. Scores are in [0, 1]; several rounds or trials of one query are averaged
before they come here, because they are no further queries (Miller, "Adding error bars to evals",
arXiv:2411.00640, section 2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Scores = NDArray[np.float64]

RESAMPLES = 10_000
# Below this many queries, or without any spread, resampling says too little about the tails.
SMALL_GROUP = 30


@dataclass(frozen=True)
class Interval:
    """An interval for a mean in [0, 1], and by which method it was found."""

    low: float
    high: float
    method: str


def bootstrap_means(scores: Scores, *, resamples: int = RESAMPLES, seed: int = 0) -> Scores:
    """Means of ``resamples`` samples with replacement; shape (resamples,).

    Scores have few distinct values, so each sample is drawn as the multinomial count of every
    value: the same distribution as drawing queries one by one (Efron, Annals of Statistics 7,
    1979), at a cost that does not grow with the number of queries.
    """
    values, counts = np.unique(scores, return_counts=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(scores), counts / len(scores), size=resamples)
    return np.asarray(drawn @ values / len(scores), dtype=np.float64)


def wilson_interval(mean: float, n: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval for a proportion (JASA 22, 1927).

    With scores between 0 and 1 it is on the safe side, because no spread on [0, 1] exceeds that of
    zeros and ones with the same mean.
    """
    if n == 0:
        return Interval(0.0, 1.0, "wilson")
    z = float(special.ndtri((1 + level) / 2))
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Interval(max(0.0, centre - half), min(1.0, centre + half), "wilson")


def bayesian_interval(mean: float, n: int, *, level: float = 0.95) -> Interval:
    """Equal-tailed interval of the posterior Beta(1/2 + n·mean, 1/2 + n·(1 - mean)).

    Jeffreys' prior; the ends are moved to 0 and 1 where the mean is there (Brown, Cai and DasGupta,
    Statistical Science 16, 2001).
    """
    a, b = 0.5 + n * mean, 0.5 + n * (1 - mean)
    low, high = special.betaincinv(a, b, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low) if mean > 0 else 0.0, float(high) if mean < 1 else 1.0, "jeffreys")


def mean_interval(scores: Scores, *, level: float = 0.95, seed: int = 0) -> Interval:
    """An interval for the mean of one group: bootstrap, or Wilson for a small or uniform group."""
    if needs_wilson(scores):
        mean = float(scores.mean()) if len(scores) else 0.0
        return wilson_interval(mean, len(scores), level=level)
    return _percentiles(bootstrap_means(scores, seed=seed), level, "bootstrap")


def needs_wilson(scores: Scores) -> bool:
    """Whether a group is too small, or too uniform, for its own resamples to say how sure it is."""
    return len(scores) < SMALL_GROUP or float(np.ptp(scores)) == 0.0


def weighted_interval(
    groups: Sequence[Scores], weights: Sequence[float], *, level: float = 0.95, seed: int = 0
) -> Interval:
    """An interval for Σ weight · mean over independent groups.

    Queries are resampled within each group. Where a group calls for Wilson's interval, the groups'
    own intervals are combined by their distances from the means instead (MOVER; Zou and Donner,
    Statistics in Medicine 27, 2008).
    """
    if not any(needs_wilson(scores) for scores in groups):
        total = sum(
            weight * bootstrap_means(scores, seed=seed + number)
            for number, (scores, weight) in enumerate(zip(groups, weights, strict=True))
        )
        return _percentiles(np.asarray(total), level, "bootstrap")
    means = [float(scores.mean()) if len(scores) else 0.0 for scores in groups]
    parts = [mean_interval(scores, level=level, seed=seed + i) for i, scores in enumerate(groups)]
    centre = sum(w * m for w, m in zip(weights, means, strict=True))
    down = math.sqrt(sum((w * (m - p.low)) ** 2 for w, m, p in zip(weights, means, parts, strict=True)))
    up = math.sqrt(sum((w * (p.high - m)) ** 2 for w, m, p in zip(weights, means, parts, strict=True)))
    return Interval(max(0.0, centre - down), min(1.0, centre + up), "mover-wilson")


def _percentiles(means: Scores, level: float, method: str) -> Interval:
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), method)
