"""Where the uncertainty of a score comes from, and what more of each would buy.

A score of one answer is a sum of random effects: how hard the query is, what the agent happened to do
in this trial, which simulator answered its calls, which judge looked in which round. Each *source* is a
set of factors whose combinations each add one random effect; with factors ``query``, ``trial`` and
``round`` the usual sources are ``("query",)``, ``("query", "trial")`` (trials are nested in queries) and
``("query", "trial", "round")`` (rounds in trials). A factor crossed with queries, such as a simulator,
has a source of its own, ``("simulator",)``, by which it shifts every query, and one together with them,
``("query", "simulator")``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike

from stb_evaluator.statistics.sampling import Array, Codes, Labels, codes, finite, sum_in_order

VarianceSource = tuple[str, ...]


@dataclass(frozen=True)
class Components:
    """The variance of each source, not negative; ``raw`` is as estimated, before it was cut at 0.

    Variances are of scores in [0, 1].
    """

    variances: Mapping[VarianceSource, float]
    raw: Mapping[VarianceSource, float]
    n: int

    @property
    def total(self) -> float:
        """The variance of a single score."""
        return sum_in_order(self.variances.values())

    @property
    def shares(self) -> dict[VarianceSource, float]:
        """The share of each source in it; all 0 where nothing varies."""
        total = self.total
        return {source: value / total if total else 0.0 for source, value in self.variances.items()}


@dataclass(frozen=True)
class Purchase:
    """The standard error as it is, and with one more, with twice and with endlessly many of a factor."""

    factor: str
    count: float
    now: float
    one_more: float
    double: float
    limit: float


def variance_components(
    scores: ArrayLike, factors: Mapping[str, Labels], sources: Sequence[VarianceSource]
) -> Components:
    """Split the variance of scores by source; scores: (N,), each factor: N labels.

    The method of moments for random effects, crossed or nested, balanced or not: the sum of squares
    between the levels of every source is set equal to its expectation (Henderson, Biometrics 9, 1953,
    method 1). For balanced data these are the estimates of the analysis of variance. The labels of a
    nested factor may start anew within each level: a source counts combinations.

    One source must distinguish all scores, commonly that of all factors: what varies within it is
    noise. ValueError without it, and where sources cannot be separated: one has a single
    level, or two have the same levels.
    """
    values = finite(scores)
    if values.ndim != 1:
        raise ValueError("Scores come in a list, with one label of each factor per score.")
    coded = {name: codes(labels, len(values), name) for name, labels in factors.items()}
    unknown = {name for source in sources for name in source} - set(coded)
    if not sources or not all(sources) or unknown:
        raise ValueError(f"Sources are made of the factors {', '.join(coded)}; unknown: {sorted(unknown)}.")
    values = values - values.mean()
    levels = [_combined([coded[name] for name in source]) for source in sources]
    if max(int(level.max()) for level in levels) + 1 < len(values):
        raise ValueError("No source distinguishes all scores; add one that is made of all factors.")
    # The mean is one more "source" of a single level; its own square is no variance, so it goes last.
    levels.append(np.zeros(len(values), dtype=np.intp))
    squares = np.array([_between(values, level) for level in levels])
    expected = np.array([[_coefficient(f, g) for g in levels[:-1]] for f in levels])
    # Differences from the square of the mean are free of the mean itself.
    left, right = expected[:-1] - expected[-1], squares[:-1] - squares[-1]
    if np.linalg.matrix_rank(left) < len(sources):
        raise ValueError(
            "The sources cannot be separated: each needs two levels or more, and its own division of the scores."
        )
    raw = dict(zip(map(tuple, sources), np.linalg.solve(left, right).tolist(), strict=True))
    return Components({source: max(0.0, value) for source, value in raw.items()}, raw, len(values))


def standard_error(components: Components, counts: Mapping[str, float]) -> float:
    """The standard error of a mean score over ``counts`` levels of each factor, balanced.

    ``counts`` gives queries in all, trials per query, rounds per trial: the variance of a source is
    divided by the product over its factors. math.inf is the limit of ever more, and stands for a
    factor that is not sampled at all: for a mean over fixed groups let ``("group",)`` be a source,
    its count infinite and that of queries the ``effective_n`` of the design. ValueError without a
    count for a factor, or with less than one.
    """
    for source in components.variances:
        for factor in source:
            if not counts.get(factor, 0) >= 1:
                raise ValueError(f"The number of levels of {factor} is needed, one or more.")
    variances = components.variances.items()
    return math.sqrt(
        sum_in_order(value / math.prod(counts[name] for name in source) for source, value in variances)
    )


def purchases(components: Components, counts: Mapping[str, float]) -> list[Purchase]:
    """What more of each factor would do to the standard error, all else being equal.

    More rounds of a judge help only against the judge's own noise; only more queries help against all.
    """
    factors = dict.fromkeys(name for source in components.variances for name in source)
    return [
        Purchase(
            factor=factor,
            count=counts[factor],
            now=standard_error(components, counts),
            one_more=standard_error(components, {**counts, factor: counts[factor] + 1}),
            double=standard_error(components, {**counts, factor: counts[factor] * 2}),
            limit=standard_error(components, {**counts, factor: math.inf}),
        )
        for factor in factors
    ]


def _combined(parts: Sequence[Codes]) -> Codes:
    """One code for every combination that occurs."""
    joined = reduce(lambda a, b: a * (int(b.max()) + 1) + b, parts)
    return np.asarray(np.unique(joined, return_inverse=True)[1], dtype=np.intp)


def _between(values: Array, level: Codes) -> float:
    """Σ over levels of (sum of scores)² / number of scores."""
    return float((np.bincount(level, weights=values) ** 2 / np.bincount(level)).sum())


def _coefficient(f: Codes, g: Codes) -> float:
    """How often the variance of source g is in the expected square between the levels of f.

    Σ over levels a of f of Σ over levels b of g of n_ab² / n_a.
    """
    from scipy import sparse  # noqa: PLC0415 - slow to import, and rarely needed

    table = sparse.coo_array((np.ones(len(f)), (f, g))).tocsr()
    return float((np.asarray(table.power(2).sum(axis=1)).ravel() / np.bincount(f)).sum())
