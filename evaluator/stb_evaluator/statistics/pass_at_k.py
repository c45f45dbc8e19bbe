"""Several trials of one query: how often does at least one of k succeed, and how often all k?

Both are means over queries of an unbiased estimate per query, so the intervals and tests for mean
scores apply to them. Raising a success rate to a power instead is biased, upwards for pass^k and for
1 - (1 - rate)^k downwards.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from stb_evaluator.statistics.sampling import Array


def pass_at_k(trials: ArrayLike, solved: ArrayLike, k: int) -> Array:
    """The chance that at least one of k trials solves each query: 1 - C(n - c, k) / C(n, k).

    trials, solved: whole numbers n ≥ k and c ≤ n per query, shape (queries,), or one n for all of
    them. Values in [0, 1]. Unbiased (Chen and others, arXiv:2107.03374).
    """
    n, c = _counts(trials, solved, k)
    return 1 - _all_from(n, n - c, k)


def pass_hat_k(trials: ArrayLike, solved: ArrayLike, k: int) -> Array:
    """pass^k, the chance that all of k trials solve each query: C(c, k) / C(n, k).

    Shapes, ranges and errors as in ``pass_at_k`` (Yao and others, arXiv:2406.12045).
    """
    n, c = _counts(trials, solved, k)
    return _all_from(n, c, k)


def _all_from(n: Array, chosen: Array, k: int) -> Array:
    """The chance that k drawn without replacement out of n all come from ``chosen`` of them."""
    drawn = np.arange(k)
    left = np.maximum(chosen[:, None] - drawn, 0)
    return np.asarray(np.prod(left / (n[:, None] - drawn), axis=1))


def _counts(trials: ArrayLike, solved: ArrayLike, k: int) -> tuple[Array, Array]:
    c = np.atleast_1d(np.asarray(solved, dtype=np.float64))
    n = np.broadcast_to(np.asarray(trials, dtype=np.float64), c.shape)
    if c.ndim != 1 or len(c) == 0:
        raise ValueError("The number of solved trials is needed for at least one query.")
    if not (np.all(n == np.round(n)) and np.all(c == np.round(c)) and np.all((c >= 0) & (c <= n))):
        raise ValueError("Solved trials are whole numbers between 0 and the number of trials.")
    if k < 1 or np.any(n < k):
        raise ValueError(f"k = {k} needs at least one and at most as many as each query has trials.")
    return n, c
