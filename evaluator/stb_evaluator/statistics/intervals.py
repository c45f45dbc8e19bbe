"""How sure is a mean score: intervals, and which of them to use when.

Scores are in [0, 1], one per query; rounds and trials of a query are averaged before they come here,
because they are no further queries (Miller, arXiv:2411.00640). ``mean_interval`` chooses:

| queries | interval |
|---|---|
| enough of them, scores of both kinds | ``bootstrap_interval``: uses the real spread of graded scores |
| queries that share tools, where asked | ``clustered_interval``: the clusters count, not the queries |
| a small group, or scores nearly all alike | ``bayesian_interval``: resampling what never varied says nothing, and normal theory covers too little below a few hundred (Bowyer and others, arXiv:2503.01747) |
| several groups, one of them small | ``combined_interval`` of the groups' own intervals |

``wilson_interval`` is the frequentist twin of the Bayesian one: for shares that no prior is wanted for,
such as a judge's sensitivity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from stb_evaluator.statistics import distributions
from stb_evaluator.statistics.sampling import (
    LEVEL,
    RESAMPLES,
    Array,
    Design,
    Labels,
    Seed,
    Weighting,
    design_of,
    finite,
    sum_in_order,
)

# Below this many queries, or points won or lost, a group is small.
SMALL_GROUP = 30
FEW_POINTS = 10


@dataclass(frozen=True)
class Interval:
    """Two ends, in the unit of what they bound, and the method that found them."""

    low: float
    high: float
    method: str

    def covering(self, other: Interval) -> Interval:
        """The smallest interval that contains both, by the same method."""
        return replace(self, low=min(self.low, other.low), high=max(self.high, other.high))

    def around(self, value: float) -> Interval:
        """This interval, extended to contain the value that it is printed with.

        An end that coincides with the value may miss it by a rounding error where the two are computed in
        different orders.
        """
        return replace(self, low=min(self.low, value), high=max(self.high, value))

    def scaled(self, factor: float, *, shift: float = 0.0) -> Interval:
        """Both ends times ``factor`` (> 0), plus ``shift``: in percent, for example."""
        return replace(self, low=self.low * factor + shift, high=self.high * factor + shift)


def wilson_interval(mean: float, n: float, *, level: float = LEVEL) -> Interval:
    """Wilson's score interval for a share ``mean`` of ``n`` (JASA 22, 1927); ValueError unless n > 0.

    For graded scores it is on the safe side: no spread on [0, 1] exceeds that of zeros and ones with
    the same mean.
    """
    _check_share(mean, n)
    z = t_quantile(level)
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if mean == 0 else max(0.0, centre - half)
    high = 1.0 if mean == 1 else min(1.0, centre + half)
    return Interval(low, high, "wilson")


def bayesian_interval(
    mean: float, n: float, *, level: float = LEVEL, prior: tuple[float, float] = (0.5, 0.5)
) -> Interval:
    """Equal-tailed interval of the posterior Beta(a + n·mean, b + n·(1 - mean)); ValueError unless n > 0.

    The prior is Jeffreys' by default. An end moves to 0 or 1 where the mean is there, without which
    the interval would exclude what was seen (Brown, Cai and DasGupta, Statistical Science 16, 2001).
    """
    _check_share(mean, n)
    tail = tail_of(level)
    a, b = prior[0] + n * mean, prior[1] + n * (1 - mean)
    low, high = distributions.beta_quantile(a, b, [tail, 1 - tail])
    return Interval(float(low) if mean > 0 else 0.0, float(high) if mean < 1 else 1.0, "bayesian")


def bootstrap_interval(
    scores: ArrayLike,
    *,
    groups: Labels | None = None,
    clusters: Labels | None = None,
    weighting: Weighting = "macro",
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: Seed = 0,
) -> Interval:
    """The bootstrap over queries, or over clusters, within groups; scores: (n,), in any unit.

    For counts, costs and times as well. ValueError where a group has a single query or cluster.
    """
    values = finite(scores)
    design = design_of(len(values), groups=groups, clusters=clusters, weighting=weighting)
    low, high = bootstrap_ends(values, design, level=level, resamples=resamples, seed=seed)
    return Interval(float(low), float(high), "bootstrap")


def bootstrap_ends(
    scores: ArrayLike, design: Design, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: Seed = 0
) -> Array:
    """Ends of the bootstrap interval, shape (2,), or (2, m) for scores of m columns.

    Percentiles of the bootstrap (Efron, Annals of Statistics 7, 1979), moved out by the factor by which
    Student's t exceeds the normal distribution: nothing to speak of for hundreds of queries, and what
    plain percentiles lack for few of them (Hesterberg, The American Statistician 69, 2015).
    """
    tail = tail_of(level)
    value = design.estimate(scores)
    draws = design.bootstrap(scores, resamples=resamples, seed=seed)
    factor = distributions.student_quantile(design.freedom(scores), tail) / distributions.normal_quantile(
        tail
    )
    return np.asarray(value + factor * (np.quantile(draws, [tail, 1 - tail], axis=0) - value))


def clustered_interval(
    scores: ArrayLike,
    clusters: Labels,
    *,
    groups: Labels | None = None,
    weighting: Weighting = "macro",
    level: float = LEVEL,
) -> Interval:
    """An interval that allows any dependence within clusters; scores: (n,), in any unit.

    Student's t with the cluster-robust standard error and Satterthwaite's degrees of freedom, so that
    three clusters give the wide interval that three clusters deserve (Liang and Zeger, Biometrika 73,
    1986). ValueError where a group has a single cluster.
    """
    design = design_of(len(finite(scores)), groups=groups, clusters=clusters, weighting=weighting)
    half = t_quantile(level, float(design.freedom(scores))) * float(design.standard_error(scores))
    value = float(design.estimate(scores))
    return Interval(value - half, value + half, "cluster-robust")


def combined_interval(
    means: Sequence[float], intervals: Sequence[Interval], weights: Sequence[float]
) -> Interval:
    """An interval for Σ weight · mean from the intervals of independent means (MOVER).

    The distances of the ends from the means are added as standard errors would be (Zou and Donner,
    Statistics in Medicine 27, 2008).
    """
    parts = list(zip(means, intervals, weights, strict=True))
    value = sum_in_order(w * m for m, _, w in parts)
    down = math.sqrt(sum_in_order((w * (m - i.low)) ** 2 for m, i, w in parts))
    up = math.sqrt(sum_in_order((w * (i.high - m)) ** 2 for m, i, w in parts))
    method = "+".join(sorted({i.method for i in intervals}))
    return Interval(value - down, value + up, f"combined {method}" if len(parts) > 1 else method)


def mean_interval(
    scores: ArrayLike,
    *,
    groups: Labels | None = None,
    clusters: Labels | None = None,
    weighting: Weighting = "macro",
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: Seed = 0,
) -> Interval:
    """The interval to print beside a mean score, by the table above; scores: (n,) in [0, 1].

    A small group counts as many independent scores as it has clusters.
    """
    values = finite(scores)
    if values.min() < 0 or values.max() > 1:
        raise ValueError("Scores are between 0 and 1.")
    design = design_of(len(values), groups=groups, clusters=clusters, weighting=weighting)
    small = any(is_small(values[design.group == group]) for group in np.unique(design.group))
    if small or design.has_no_spread(values):
        return _small_interval(values, design, level)
    if clusters is not None:
        found = clustered_interval(values, clusters, groups=groups, weighting=weighting, level=level)
    else:
        found = bootstrap_interval(
            values, groups=groups, weighting=weighting, level=level, resamples=resamples, seed=seed
        )
    return Interval(max(0.0, found.low), min(1.0, found.high), found.method)


def is_small(scores: Array) -> bool:
    """Whether a group is too small, or its scores too much alike, to say by resampling how sure it is."""
    points = float(scores.sum())
    few = len(scores) < SMALL_GROUP or min(points, len(scores) - points) < FEW_POINTS
    return few or float(np.ptp(scores)) == 0.0


def t_quantile(level: float, freedom: float = math.inf) -> float:
    """How many standard errors each way hold ``level`` of Student's t, by default of the normal."""
    tail = tail_of(level)
    return float(
        -distributions.normal_quantile(tail)
        if math.isinf(freedom)
        else -distributions.student_quantile(freedom, tail)
    )


def _small_interval(values: Array, design: Design, level: float) -> Interval:
    members = [np.flatnonzero(design.group == group) for group in np.unique(design.group)]
    means = [float(values[rows].mean()) for rows in members]
    n_units = [len(np.unique(design.unit[rows])) for rows in members]
    parts = [bayesian_interval(m, n, level=level) for m, n in zip(means, n_units, strict=True)]
    return combined_interval(means, parts, [float(design.weights[rows].sum()) for rows in members])


def tail_of(level: float) -> float:
    """The probability beyond either end; ValueError unless the level is between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"A level of confidence is between 0 and 1, not {level}.")
    return (1 - level) / 2


def _check_share(mean: float, n: float) -> None:
    if not n > 0:
        raise ValueError("A share of nothing has no interval.")
    if not 0 <= mean <= 1:
        raise ValueError(f"A share is between 0 and 1, not {mean}.")
