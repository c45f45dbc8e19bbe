"""Is one system better than another on the same queries? Intervals and tests of paired differences.

A difference is ``a - b``; scores are in [0, 1], one per query and in the same order, rounds and trials
averaged. Pairing takes the difficulty of the queries out of the comparison, and that is most of the
spread of scores (Miller, arXiv:2411.00640).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from stb_evaluator.statistics import distributions
from stb_evaluator.statistics.intervals import FEW_POINTS, SMALL_GROUP, Interval, bootstrap_ends, t_quantile
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
    sums,
)
from stb_evaluator.statistics.significance import Significance, sign_flip_tests


@dataclass(frozen=True)
class Comparison:
    """``first - second`` on the same queries, with its interval and p; the systems by column.

    ``n_first`` and ``n_second`` count the queries on which each is ahead, of ``n``. p is not adjusted
    for other pairs; see ``multiplicity.holm``.
    """

    first: int
    second: int
    difference: float
    interval: Interval
    standard_error: float
    significance: Significance
    n: int
    n_first: int
    n_second: int


@dataclass(frozen=True)
class Equivalence:
    """Whether a difference lies within ±margin; ``interval`` has level 1 - 2 · (1 - confidence)."""

    difference: float
    interval: Interval
    margin: float
    p: float
    equivalent: bool


@dataclass(frozen=True)
class _Spread:
    """Centre and standard error of an interval, and degrees of freedom of the latter."""

    centre: float
    error: float
    freedom: float
    method: str


def compare(
    a: ArrayLike,
    b: ArrayLike,
    *,
    groups: Labels | None = None,
    clusters: Labels | None = None,
    weighting: Weighting = "macro",
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: Seed = 0,
) -> Comparison:
    """Compare two systems; a, b: (n,). ValueError if they differ in length or a score is missing.

    ``compare(b, a)`` is the mirror image of ``compare(a, b)``, its chance included.
    """
    values = np.column_stack((finite(a), finite(b, len(finite(a)))))
    design = design_of(len(values), groups=groups, clusters=clusters, weighting=weighting)
    return compare_all(values, design, level=level, resamples=resamples, seed=seed)[0]


def compare_all(
    scores: ArrayLike,
    design: Design,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: Seed = 0,
) -> list[Comparison]:
    """Compare every two systems, in the order of ``itertools.combinations``; scores: (n, systems)."""
    values = _in_range(scores, design)
    pairs = list(combinations(range(values.shape[1]), 2))
    if not pairs:
        raise ValueError("A comparison needs two systems.")
    differences = values[:, [i for i, _ in pairs]] - values[:, [j for _, j in pairs]]
    rng = np.random.default_rng(seed)
    intervals = difference_intervals(differences, design, level=level, resamples=resamples, seed=rng)
    tests = sign_flip_tests(differences, design, resamples=resamples, seed=rng)
    return [
        Comparison(
            first=first,
            second=second,
            difference=float(design.estimate(column)),
            interval=interval,
            standard_error=_spread(column, design).error,
            significance=test,
            n=len(column),
            n_first=int((column > 0).sum()),
            n_second=int((column < 0).sum()),
        )
        for (first, second), column, interval, test in zip(
            pairs, differences.T, intervals, tests, strict=True
        )
    ]


def difference_intervals(
    differences: Array,
    design: Design,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: Seed = 0,
) -> list[Interval]:
    """An interval for each column of paired differences, shape (n, m), each in [-1, 1].

    The paired bootstrap over the units of the design, plain, within groups or of clusters; where too
    few queries differ to resample them, the interval of Agresti and Min.
    """
    few = np.array([_differ_too_little(column, design) for column in differences.T])
    ends = np.empty((2, len(few)))
    if not few.all():
        # A sign of its own for every column, so that exchanging two systems mirrors their interval.
        sign = np.where(design.estimate(differences[:, ~few]) < 0, -1.0, 1.0)
        found = sign * bootstrap_ends(
            differences[:, ~few] * sign, design, level=level, resamples=resamples, seed=seed
        )
        ends[:, ~few] = np.sort(found, axis=0)
    for column in np.flatnonzero(few):
        spread = _adjusted(differences[:, column], design)
        ends[:, column] = spread.centre + np.array([-1, 1]) * t_quantile(level) * spread.error
    low, high = np.clip(ends, -1, 1)
    methods = np.where(few, "agresti-min", "bootstrap")
    return [Interval(float(a), float(b), str(m)) for a, b, m in zip(low, high, methods, strict=True)]


def equivalence(
    a: ArrayLike,
    b: ArrayLike,
    margin: float,
    *,
    groups: Labels | None = None,
    clusters: Labels | None = None,
    weighting: Weighting = "macro",
    level: float = LEVEL,
) -> Equivalence:
    """Test that two systems differ by less than ``margin``; a, b: (n,). ValueError unless margin > 0.

    Two one-sided t tests at 1 - level each (TOST; Schuirmann, Journal of Pharmacokinetics and
    Biopharmaceutics 15, 1987): equivalent when the whole interval lies within ±margin. Not finding a
    difference is no such evidence.
    """
    if not margin > 0:
        raise ValueError("The margin of an equivalence is greater than 0.")
    values = np.column_stack((finite(a), finite(b, len(finite(a)))))
    design = design_of(len(values), groups=groups, clusters=clusters, weighting=weighting)
    differences = np.subtract(*_in_range(values, design).T)
    spread = _spread(differences, design)
    half = t_quantile(2 * level - 1, spread.freedom) * spread.error
    interval = Interval(spread.centre - half, spread.centre + half, spread.method)
    nearest = (margin - abs(spread.centre)) / spread.error
    p = float(
        distributions.normal_probability(-nearest)
        if math.isinf(spread.freedom)
        else distributions.student_probability(spread.freedom, -nearest)
    )
    return Equivalence(float(design.estimate(differences)), interval, margin, p, p < 1 - level)


def _spread(column: Array, design: Design) -> _Spread:
    if _differ_too_little(column, design):
        return _adjusted(column, design)
    value, error = design.estimate(column), design.standard_error(column)
    return _Spread(float(value), float(error), float(design.freedom(column)), "t")


def _differ_too_little(column: Array, design: Design) -> bool:
    """Whether the systems differ on too few units for their spread to be estimated."""
    if len(design.stratum) < SMALL_GROUP or design.has_no_spread(column):
        return True
    return int(np.count_nonzero(sums(np.abs(column), design.unit))) < FEW_POINTS


def _adjusted(column: Array, design: Design) -> _Spread:
    """As if half a query more had been won and half a one lost, and one more tied.

    Without that, two systems that agree on ten queries would be equal for certain (Agresti and Min,
    Statistics in Medicine 24, 2005, for pairs of yes and no; differences in [-1, 1] spread no more).
    Under weights or clusters the number of queries is the effective one, 1 / Σ weight².
    """
    weights, parts = sums(design.weights, design.unit), sums(design.weights * column, design.unit)
    n = 1 / float((weights**2).sum())
    centre = float(parts.sum()) * n / (n + 2)
    square = (float((parts**2).sum()) * n * n + 1) / (n + 2)
    return _Spread(centre, math.sqrt(max(0.0, square - centre**2) / (n + 2)), math.inf, "agresti-min")


def _in_range(scores: ArrayLike, design: Design) -> Array:
    values = finite(scores, design.n)
    if values.min() < 0 or values.max() > 1:
        raise ValueError("Scores are between 0 and 1.")
    return values
