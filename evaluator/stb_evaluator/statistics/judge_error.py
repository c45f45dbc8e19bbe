"""Does the judge say what people say? Its sensitivity and specificity, and scores corrected by labels.

Some queries, a random sample of those of each group, carry a human label beside the judge's score; the
others only the judge's. ``ppi_mean`` corrects the mean of graded scores by the labels. The corrected
score is free of the judge's bias, and never less precise than the labels alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stb_evaluator.statistics.intervals import Interval, t_quantile, wilson_interval
from stb_evaluator.statistics.sampling import LEVEL, Array, Labels, Weighting, codes, finite


@dataclass(frozen=True)
class Rate:
    """A share of ``n`` cases, with Wilson's interval; ``value`` and interval are None where n is 0."""

    value: float | None
    interval: Interval | None
    n: int


@dataclass(frozen=True)
class JudgeQuality:
    """How often the judge is right: on what people call solved, on what they do not, and in all."""

    sensitivity: Rate
    specificity: Rate
    accuracy: Rate


@dataclass(frozen=True)
class Corrected:
    """A corrected score or difference, with its interval and standard error.

    ``tuning`` is the weight λ of the judge, from 0, where only the labels count.
    """

    value: float
    interval: Interval
    standard_error: float
    tuning: float
    n_labelled: int


def judge_quality(judged: ArrayLike, labels: ArrayLike, *, level: float = LEVEL) -> JudgeQuality:
    """Compare a judge with people; judged, labels: (n,) of true and false. ValueError for anything else."""
    said, true = _pass_fail(judged), _pass_fail(labels)
    if len(said) != len(true):
        raise ValueError("Each label needs the judge's verdict on the same answer.")
    return JudgeQuality(
        sensitivity=_rate(said[true], level),
        specificity=_rate(~said[~true], level),
        accuracy=_rate(said == true, level),
    )


def ppi_mean(
    judged: ArrayLike,
    labels: ArrayLike,
    *,
    groups: Labels | None = None,
    weighting: Weighting = "macro",
    tuning: float | None = None,
    level: float = LEVEL,
) -> Corrected:
    """The mean score that people would give; judged, labels: (n,), labels NaN where there is none.

    Within each group: the mean of λ · judge over the queries without a label, plus the mean of
    label - λ · judge over those with one (prediction-powered inference; Angelopoulos and others,
    Science 382, 2023, arXiv:2301.09633). λ is chosen within [0, 1], for all groups together, to make
    the interval short (PPI++; arXiv:2311.01453). ``tuning`` fixes it: 0 is the labels alone,
    1 plain PPI. ValueError unless every group has two labels or more.
    """
    scores, human = finite(judged), np.asarray(labels, dtype=np.float64)
    if scores.ndim != 1 or human.shape != scores.shape:
        raise ValueError("Each query needs one score of the judge, and a label or NaN.")
    if tuning is not None and not 0 <= tuning <= 1:
        raise ValueError("The weight of the judge is between 0 and 1.")
    group = codes(groups, len(scores), "groups") if groups is not None else np.zeros(len(scores), np.intp)
    strata = [_Stratum.of(scores[group == g], human[group == g]) for g in range(int(group.max()) + 1)]
    sizes = np.bincount(group)
    weights = sizes / len(scores) if weighting == "micro" else np.full(len(sizes), 1 / len(sizes))
    weight = _best_weight(strata, weights) if tuning is None else tuning
    value = float(sum(w * s.mean(weight) for w, s in zip(weights, strata, strict=True)))
    variance = float(sum(w * w * s.variance(weight) for w, s in zip(weights, strata, strict=True)))
    # As if half a label more had spoken for, and half a one against the judge, who would otherwise
    # be perfect for certain after a few labels that agree (as Agresti and Min do for differences).
    effective = 1 / float(sum(w * w / s.n for w, s in zip(weights, strata, strict=True)))
    error = math.sqrt(variance + 1 / (effective + 2) ** 2)
    n = sum(s.n for s in strata)
    half = t_quantile(level, n - len(strata)) * error
    return Corrected(value, Interval(value - half, value + half, "prediction-powered"), error, weight, n)


@dataclass(frozen=True)
class _Stratum:
    """What one group says: its labels beside the judge's scores of the same, and the other scores."""

    labels: Array
    judged: Array
    others: Array
    spread: float

    @classmethod
    def of(cls, judged: Array, labels: Array) -> _Stratum:
        known = ~np.isnan(labels)
        if known.sum() < 2:
            raise ValueError("Each group needs two labels or more to correct its score.")
        return cls(labels[known], judged[known], judged[~known], float(judged.var(ddof=1)))

    @property
    def n(self) -> int:
        return len(self.labels)

    @property
    def gain(self) -> tuple[float, float]:
        """Numerator and denominator of the best λ; without further queries the judge is of no use."""
        if len(self.others) == 0:
            return 0.0, 0.0
        shared = float(np.cov(self.labels, self.judged, ddof=1)[0, 1])
        return shared / self.n, self.spread * (1 / self.n + 1 / len(self.others))

    def mean(self, weight: float) -> float:
        if len(self.others) == 0:
            return float(self.labels.mean())
        return float(weight * self.others.mean() + (self.labels - weight * self.judged).mean())

    def variance(self, weight: float) -> float:
        if len(self.others) == 0:
            return float(self.labels.var(ddof=1)) / self.n
        rectifier = float((self.labels - weight * self.judged).var(ddof=1))
        return weight * weight * self.spread / len(self.others) + rectifier / self.n


def _best_weight(strata: list[_Stratum], weights: Array) -> float:
    gains = np.array([stratum.gain for stratum in strata])
    shared, spread = (weights**2) @ gains
    return float(np.clip(shared / spread, 0, 1)) if spread > 0 else 0.0


def _rate(hits: NDArray[np.bool_], level: float) -> Rate:
    if len(hits) == 0:
        return Rate(None, None, 0)
    value = float(hits.mean())
    return Rate(value, wilson_interval(value, len(hits), level=level), len(hits))


def _pass_fail(values: ArrayLike) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.ndim != 1 or len(array) == 0 or not np.isin(array, (0, 1)).all():
        raise ValueError("A list of true and false is needed; decide first what unsure counts as.")
    return array.astype(bool)
