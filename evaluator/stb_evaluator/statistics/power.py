"""How small a difference can a benchmark of this size find, and how many queries would find a given one?

All for a two-sided test at ``alpha`` that is to find a true difference with probability ``power``; by
the normal approximation, which is good from about 30 queries on. Scores and differences are in [0, 1],
standard deviations are those between queries.
"""

from __future__ import annotations

import math

from numpy.typing import ArrayLike
from scipy import special

from stb_evaluator.statistics.sampling import Design, finite

ALPHA = 0.05
POWER = 0.8


def detectable_difference(standard_error: float, *, alpha: float = ALPHA, power: float = POWER) -> float:
    """The smallest true difference that is found, from the standard error of the measured one.

    (z of 1 - alpha/2 + z of power) · standard error: 2.8 standard errors by default (Bloom, Evaluation
    Review 19, 1995). ValueError for a negative or infinite error, or alpha or power outside of (0, 1).
    """
    if not 0 <= standard_error < math.inf:
        raise ValueError("A standard error is a finite number that is not negative.")
    return _reach(alpha, power) * standard_error


def detectable_paired(
    a: ArrayLike, b: ArrayLike, design: Design, *, alpha: float = ALPHA, power: float = POWER
) -> float:
    """As ``detectable_difference``, for two systems on the same queries; a, b: (n,)."""
    error = float(design.standard_error(finite(a, design.n) - finite(b, design.n)))
    return detectable_difference(error, alpha=alpha, power=power)


def detectable_unpaired(
    a: ArrayLike, b: ArrayLike, design: Design, *, alpha: float = ALPHA, power: float = POWER
) -> float:
    """As ``detectable_paired``, had the systems been run on different queries of the same design."""
    error = math.hypot(float(design.standard_error(a)), float(design.standard_error(b)))
    return detectable_difference(error, alpha=alpha, power=power)


def queries_needed(difference: float, deviation: float, *, alpha: float = ALPHA, power: float = POWER) -> int:
    """The queries on which both systems must run to find ``difference``.

    ``deviation`` is the standard deviation of the paired differences (``paired_deviation``). For two
    systems on different queries take √(s_a² + s_b²) instead; the result is then what each needs.
    ValueError unless difference > 0 and deviation ≥ 0.
    """
    if not difference > 0:
        raise ValueError("The difference to be found is greater than 0.")
    if not 0 <= deviation < math.inf:
        raise ValueError("A standard deviation is a finite number that is not negative.")
    return max(1, math.ceil((_reach(alpha, power) * deviation / difference) ** 2))


def paired_deviation(deviation_a: float, deviation_b: float, correlation: float) -> float:
    """Standard deviation of a - b, from those of a and b over queries and their correlation.

    The more alike the systems find the queries hard, the more pairing helps: with equal
    deviations it needs 1 - correlation of them.
    """
    if not -1 <= correlation <= 1:
        raise ValueError("A correlation is between -1 and 1.")
    variance = deviation_a**2 + deviation_b**2 - 2 * correlation * deviation_a * deviation_b
    return math.sqrt(max(0.0, variance))


def power_of(difference: float, standard_error: float, *, alpha: float = ALPHA) -> float:
    """The probability that a true ``difference`` is found; in [alpha, 1]."""
    if not 0 < standard_error < math.inf:
        raise ValueError("A standard error is a finite number greater than 0.")
    _reach(alpha, POWER)
    shift, critical = abs(difference) / standard_error, float(-special.ndtri(alpha / 2))
    return float(special.ndtr(shift - critical) + special.ndtr(-shift - critical))


def _reach(alpha: float, power: float) -> float:
    if not (0 < alpha < 1 and 0 < power < 1):
        raise ValueError("alpha and power are between 0 and 1.")
    return float(special.ndtri(power) - special.ndtri(alpha / 2))
