"""Tests of whether two systems differ at all: sign flips for scores, McNemar for pass and fail."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from stb_evaluator.statistics import distributions
from stb_evaluator.statistics.sampling import RESAMPLES, Array, Design, Seed, finite, sums

# Where no more units than this differ, every assignment of signs is tried: 2^15 of them.
_EXACT = 16
_BLOCK = 2_000_000
# Sums that are equal but for rounding count as equal; relative to the sum of all absolute values.
_TIE = 1e-9


@dataclass(frozen=True)
class Significance:
    """A two-sided p-value in (0, 1], and the test that found it."""

    p: float
    method: str


def sign_flip_tests(
    differences: ArrayLike, design: Design, *, resamples: int = RESAMPLES, seed: Seed = 0
) -> list[Significance]:
    """The paired permutation test of the weighted mean difference; one result per column of (n, m).

    If the systems were alike, each unit's difference were as likely with the other sign (Fisher, "The
    Design of Experiments", 1935, section 21). p is the share of sign assignments that give a mean as
    far from 0 as was seen: of all assignments where few units differ, otherwise of ``resamples``
    drawn ones and the one seen, so that p is never 0 (Phipson and Smyth, 2010, arXiv:1603.05766).
    Units are queries, or clusters, which change sign as a whole. ValueError without a finite score.
    """
    values = finite(differences, design.n)
    parts = sums((values.T * design.weights).T, design.unit)
    exact = (parts != 0).sum(axis=0) <= _EXACT
    p = np.empty(parts.shape[1])
    for column in np.flatnonzero(exact):
        p[column] = _exact_p(parts[parts[:, column] != 0, column])
    if not exact.all():
        p[~exact] = _drawn_p(parts[:, ~exact], resamples, np.random.default_rng(seed))
    return [
        Significance(float(one), "exact permutation" if whole else "permutation")
        for one, whole in zip(p, exact, strict=True)
    ]


def mcnemar(n_first: int, n_second: int, *, mid_p: bool = True) -> Significance:
    """McNemar's test that two systems pass equally often, from the queries that only one of them passed.

    Exact and conditional on their number (McNemar, Psychometrika 12, 1947); by default the mid-p
    version, which is less conservative and still keeps its level (Fagerland, Lydersen and Laake, BMC
    Medical Research Methodology 13:91, 2013). p = 1 where no query sets them apart.
    """
    if n_first < 0 or n_second < 0:
        raise ValueError("Counts of queries are not negative.")
    n, fewer = n_first + n_second, min(n_first, n_second)
    method = "McNemar mid-p" if mid_p else "McNemar exact"
    if n == 0:
        return Significance(1.0, method)
    p = min(1.0, 2 * float(distributions.binomial_probability(fewer, n, 0.5)))
    if mid_p:
        seen = math.comb(n, fewer) / 2**n
        p -= seen / 2 if n_first == n_second else seen
    return Significance(p, method)


def _exact_p(parts: Array) -> float:
    """Over all signs; the first is held, because a sum and its mirror image are equally far from 0."""
    if len(parts) == 0:
        return 1.0
    free = len(parts) - 1
    bits = (np.arange(2**free)[:, None] >> np.arange(free)) & 1
    flipped = np.abs(parts[0] + (1.0 - 2.0 * bits) @ parts[1:])
    return float(np.mean(flipped >= abs(parts.sum()) - _TIE * np.abs(parts).sum()))


def _drawn_p(parts: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Over drawn signs, the same for all columns; the order of units, and which system is first, aside."""
    parts = parts * np.where(parts.sum(axis=0) < 0, -1.0, 1.0)
    parts = parts[np.lexsort(parts.T)]
    total, units = parts.sum(axis=0), len(parts)
    least = np.abs(total) - _TIE * np.abs(parts).sum(axis=0)
    beyond = np.zeros(parts.shape[1])
    rows = max(1, _BLOCK // units)
    for start in range(0, resamples, rows):
        block = min(rows, resamples - start)
        kept = np.unpackbits(np.frombuffer(rng.bytes(block * (units // 8 + 1)), dtype=np.uint8))
        kept = kept.reshape(block, -1)[:, :units].astype(np.float64)
        beyond += (np.abs(2 * (kept @ parts) - total) >= least).sum(axis=0)
    return np.asarray((beyond + 1) / (resamples + 1))
