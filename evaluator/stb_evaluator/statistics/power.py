"""How small a difference can a benchmark of this size find, and how many queries would find a given one?

All for a two-sided test at ``alpha`` that is to find a true difference with probability ``power``; by
the normal approximation, which is good from about 30 queries on. Scores and differences are in [0, 1],
standard deviations are those between queries.
"""

from __future__ import annotations

import math

from stb_evaluator.statistics import distributions

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


def queries_needed(difference: float, deviation: float, *, alpha: float = ALPHA, power: float = POWER) -> int:
    """The queries on which both systems must run to find ``difference``.

    ``deviation`` is the standard deviation of the paired differences. For two
    systems on different queries take √(s_a² + s_b²) instead; the result is then what each needs.
    ValueError unless difference > 0 and deviation ≥ 0.
    """
    if not difference > 0:
        raise ValueError("The difference to be found is greater than 0.")
    if not 0 <= deviation < math.inf:
        raise ValueError("A standard deviation is a finite number that is not negative.")
    return max(1, math.ceil((_reach(alpha, power) * deviation / difference) ** 2))


def _reach(alpha: float, power: float) -> float:
    if not (0 < alpha < 1 and 0 < power < 1):
        raise ValueError("alpha and power are between 0 and 1.")
    return float(distributions.normal_quantile(power) - distributions.normal_quantile(alpha / 2))
