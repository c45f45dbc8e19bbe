"""How the queries of a score were drawn, and so how far a weighted mean over them may be off.

A score is Σ weight · score of query. What varies from benchmark to benchmark is which *units* were
drawn: queries, or clusters of queries that share their tools. Units are drawn within *strata*, the
groups of the benchmark. The uncertainty of the score lies in the influence of each unit, the sum over
its queries of weight · (score - mean of the group): its squares give the standard error, resampling it
the bootstrap (the linearisation of survey statistics; Särndal, Swensson and Wretman, "Model Assisted
Survey Sampling", 1992, section 5.5). Without clusters this is the plain stratified bootstrap, exactly.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Codes = NDArray[np.intp]
Labels = Sequence[str] | Sequence[int] | NDArray[np.generic]
Weighting = Literal["macro", "micro"]
Seed = int | np.random.Generator

RESAMPLES = 10_000
LEVEL = 0.95
# Standard errors below this are 0 but for rounding.
_ROUNDING = 1e-12
# Numbers held at once while resampling: 16 MB of them.
_BLOCK = 2_000_000


@dataclass(frozen=True, eq=False)
class Design:
    """The weight, group and unit of each query, shapes (n,), and the stratum of each unit, shape (units,).

    Made by ``design_of``. Methods take scores of shape (n,) or, for several systems on the same
    queries, (n, m), and give one number per column.
    """

    weights: Array
    group: Codes
    unit: Codes
    stratum: Codes

    @property
    def n(self) -> int:
        """The number of queries."""
        return len(self.weights)

    @property
    def effective_n(self) -> float:
        """The number of equally weighted queries that would do as well: 1 / Σ weight²."""
        return 1 / float((self.weights**2).sum())

    @cached_property
    def stratum_sizes(self) -> Codes:
        """The number of units in each stratum."""
        return np.bincount(self.stratum)

    def estimate(self, scores: ArrayLike) -> Array:
        """The score: Σ weight · score; shape () or (m,)."""
        return np.asarray(self.weights @ finite(scores, self.n))

    def influence(self, scores: ArrayLike) -> Array:
        """What each unit adds to the score beyond the mean of its group; shape (units,) or (units, m).

        It is scaled by √(k / (k - 1)) for the k units of a stratum, so that neither the standard
        error nor the bootstrap is too small in small strata (Rao and Wu, JASA 83, 1988). A stratum
        of one unit says nothing about its spread: ValueError.
        """
        values = finite(scores, self.n)
        if self.stratum_sizes.min() < 2:
            raise ValueError("A group of a single query or cluster says nothing about the spread within it.")
        sizes = np.bincount(self.group).astype(np.float64)
        means = (sums(values, self.group).T / sizes).T
        parts = sums(((values - means[self.group]).T * self.weights).T, self.unit)
        scale = np.sqrt(self.stratum_sizes / (self.stratum_sizes - 1.0))[self.stratum]
        return np.asarray((parts.T * scale).T)

    def standard_error(self, scores: ArrayLike) -> Array:
        """The standard error of the score, robust to dependence within units; shape () or (m,)."""
        return np.asarray(np.sqrt((self.influence(scores) ** 2).sum(axis=0)))

    def has_no_spread(self, scores: ArrayLike) -> bool:
        """Whether one column of scores, shape (n,), leaves its uncertainty at 0, or open.

        So it does where a group has a single unit, or all units of each group score alike.
        """
        return bool(self.stratum_sizes.min() < 2 or self.standard_error(scores) < _ROUNDING)

    def freedom(self, scores: ArrayLike) -> Array:
        """Satterthwaite's degrees of freedom of the standard error; shape () or (m,); at least 1.

        Few clusters in one group count for what they are, even where the other groups have many
        (Satterthwaite, Biometrics Bulletin 2, 1946).
        """
        variances = sums(self.influence(scores) ** 2, self.stratum)
        spread = (variances.T**2 / (self.stratum_sizes - 1.0)).T.sum(axis=0)
        most = float(len(self.stratum) - len(self.stratum_sizes))
        total = variances.sum(axis=0) ** 2
        return np.asarray(np.divide(total, spread, out=np.full_like(total, most), where=spread > 0))

    def bootstrap(self, scores: ArrayLike, *, resamples: int = RESAMPLES, seed: Seed = 0) -> Array:
        """Scores of ``resamples`` further benchmarks; shape (resamples,) or (resamples, m).

        All columns see the same draws, so differences between columns are paired. The order of the
        queries does not matter.
        """
        influence = self.influence(scores)
        columns = influence.reshape(len(influence), -1)
        rng = np.random.default_rng(seed)
        drawn = np.zeros((resamples, columns.shape[1]))
        for stratum in range(len(self.stratum_sizes)):
            for start, sums_drawn in _draws(columns[self.stratum == stratum], resamples, rng):
                drawn[start : start + len(sums_drawn)] += sums_drawn
        return np.asarray(self.estimate(scores) + drawn.reshape(resamples, *influence.shape[1:]))


def design_of(
    n: int,
    *,
    groups: Labels | None = None,
    clusters: Labels | None = None,
    weighting: Weighting = "macro",
) -> Design:
    """The design of ``n`` queries with the group and the cluster of each, if there are such.

    ``macro`` gives every group the same weight, ``micro`` every query. The same cluster label in two
    groups is the same cluster; such groups are drawn together. ValueError without any query, or with
    labels of another number.
    """
    if n < 1:
        raise ValueError("There is no query to compute a score of.")
    group = codes(groups, n, "groups") if groups is not None else np.zeros(n, dtype=np.intp)
    sizes = np.bincount(group)
    weights = np.full(n, 1 / n) if weighting == "micro" else 1 / (len(sizes) * sizes[group])
    if clusters is None:
        return Design(weights, group, np.arange(n), group)
    unit = codes(clusters, n, "clusters")
    n_units, n_groups = int(unit.max()) + 1, len(sizes)
    from scipy import sparse  # noqa: PLC0415 - slow to import, and few designs need it
    from scipy.sparse import csgraph  # noqa: PLC0415

    links = sparse.coo_array(
        (np.ones(n), (unit, n_units + group)), shape=(n_units + n_groups, n_units + n_groups)
    )
    _, component = csgraph.connected_components(links, directed=False)
    stratum = np.unique(component[:n_units], return_inverse=True)[1]
    return Design(weights, group, unit, np.asarray(stratum, dtype=np.intp))


def finite(scores: ArrayLike, n: int | None = None) -> Array:
    """Scores as an array of finite numbers, one row per query; otherwise ValueError."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim == 0 or len(values) == 0:
        raise ValueError("There is no score.")
    if n is not None and len(values) != n:
        raise ValueError(f"{len(values)} scores were given for {n} queries.")
    if not np.isfinite(values).all():
        raise ValueError("A score is missing or not finite; leave out queries that have none.")
    return values


def codes(labels: Labels, n: int, what: str) -> Codes:
    """Labels as whole numbers from 0, in the order of the labels; ValueError unless there are ``n``."""
    names = np.asarray(labels)
    if names.shape != (n,):
        raise ValueError(
            f"{what}: {n} labels are needed, one per score, not an array of shape {names.shape}."
        )
    return np.asarray(np.unique(names, return_inverse=True)[1], dtype=np.intp)


def sums(values: Array, code: Codes) -> Array:
    """Sums of the rows of ``values`` that share a code; every code from 0 to the greatest occurs."""
    order = np.argsort(code, kind="stable")
    starts = np.searchsorted(code[order], np.arange(int(code.max()) + 1))
    return np.asarray(np.add.reduceat(values[order], starts, axis=0))


def _draws(rows: Array, resamples: int, rng: np.random.Generator) -> Iterator[tuple[int, Array]]:
    """Sums of as many rows as there are, drawn with replacement, in blocks: (first resample, sums).

    Scores have few distinct values, so rows that are alike are drawn together, by their number: a
    multinomial count is the same chance as one draw after the other.
    """
    kinds, counts = np.unique(rows, axis=0, return_counts=True)
    step = max(1, _BLOCK // len(kinds))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        yield start, rng.multinomial(len(rows), counts / len(rows), size=size) @ kinds


def sum_in_order(values: Iterable[float]) -> float:
    """The sum, rounded after each addition, so the same bits under every Python; 0 of nothing.

    ``sum`` compensates for rounding from Python 3.12 on.
    """
    return reduce(operator.add, values, 0.0)
