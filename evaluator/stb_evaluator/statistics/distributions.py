"""Quantiles and probabilities of distributions, by scipy; importing scipy takes a fifth of a command's start.

So it is imported at the first use: most commands compute none.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike


def beta_quantile(a: ArrayLike, b: ArrayLike, probability: ArrayLike) -> Any:
    """The quantile of the beta distribution with the shapes ``a`` and ``b``."""
    return _special().betaincinv(a, b, probability)


def normal_quantile(probability: ArrayLike) -> Any:
    """The quantile of the standard normal distribution."""
    return _special().ndtri(probability)


def normal_probability(value: ArrayLike) -> Any:
    """The probability that a standard normal variable is at most ``value``."""
    return _special().ndtr(value)


def student_quantile(freedom: ArrayLike, probability: ArrayLike) -> Any:
    """The quantile of Student's t distribution with ``freedom`` degrees of freedom."""
    return _special().stdtrit(freedom, probability)


def student_probability(freedom: ArrayLike, value: ArrayLike) -> Any:
    """The probability that a variable with Student's t distribution is at most ``value``."""
    return _special().stdtr(freedom, value)


def binomial_probability(successes: ArrayLike, trials: ArrayLike, chance: ArrayLike) -> Any:
    """The probability of at most that many successes in some trials, each with the same chance."""
    return _special().bdtr(successes, trials, chance)


def _special() -> Any:
    from scipy import special  # noqa: PLC0415 - see above

    return special
