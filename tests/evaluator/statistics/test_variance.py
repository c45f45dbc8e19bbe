"""Variance is put down to its sources as the analysis of variance does, and what more of each buys follows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike

import real_verdicts
from stb_evaluator.statistics.sampling import design_of
from stb_evaluator.statistics.variance import (
    Components,
    purchases,
    standard_error,
    variance_components,
)

NESTED = [("query",), ("query", "trial"), ("query", "trial", "round")]


def table_of(scores: ArrayLike, axes: Sequence[str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """An array of scores as a list with labels: axis i of scores is factor ``axes[i]``, NaN is missing."""
    values = np.asarray(scores, dtype=np.float64)
    known = ~np.isnan(values)
    return values[known], dict(zip(axes, np.nonzero(known), strict=True))


def test_davies_dyestuff() -> None:
    """Six batches of five: 1764.05 between and 2451.25 within (Davies, Statistical Methods, 1947)."""
    yields = [
        [1545, 1440, 1440, 1520, 1580],
        [1540, 1555, 1490, 1560, 1495],
        [1595, 1550, 1605, 1510, 1560],
        [1445, 1440, 1595, 1465, 1545],
        [1595, 1630, 1515, 1635, 1625],
        [1520, 1455, 1450, 1480, 1445],
    ]

    found = variance_components(*table_of(yields, ("batch", "sample")), [("batch",), ("batch", "sample")])

    assert [1764.05, 2451.25] == pytest.approx(list(found.variances.values()))


def test_balanced_nested_data_give_the_analysis_of_variance() -> None:
    """Mean squares of rounds in trials in queries, solved from the innermost outwards."""
    y = np.random.default_rng(0).random((20, 3, 4)) + np.random.default_rng(1).random((20, 1, 1))

    found = variance_components(*table_of(y, ("query", "trial", "round")), NESTED)

    inner = y.var(axis=2, ddof=1).mean()
    middle = y.mean(axis=2).var(axis=1, ddof=1).mean() - inner / 4
    outer = y.mean(axis=(1, 2)).var(ddof=1) - middle / 3 - inner / 12
    assert [outer, middle, inner] == pytest.approx(list(found.raw.values()))


def test_balanced_crossed_data_give_the_analysis_of_variance() -> None:
    """Queries by simulators, two ways with interaction."""
    rng = np.random.default_rng(2)
    y = rng.random((30, 1, 1)) + rng.random((1, 4, 1)) + rng.random((30, 4, 2))
    sources = [("query",), ("simulator",), ("query", "simulator"), ("query", "simulator", "trial")]

    found = variance_components(*table_of(y, ("query", "simulator", "trial")), sources)

    cells = y.mean(axis=2)
    apart = cells - cells.mean(axis=1, keepdims=True) - cells.mean(axis=0) + cells.mean()
    both, error = (apart**2).sum() / (29 * 3), y.var(axis=2, ddof=1).mean()
    assert [
        cells.mean(axis=1).var(ddof=1) - both / 4,
        cells.mean(axis=0).var(ddof=1) - both / 30,
        both - error / 2,
        error,
    ] == pytest.approx(list(found.raw.values()))


def test_unbalanced_data_are_unbiased() -> None:
    """With half of the scores missing at random, the mean over 300 data sets is the truth."""
    rng = np.random.default_rng(3)
    sources = [("query",), ("simulator",), ("query", "simulator")]
    found = []
    for _ in range(300):
        y = rng.normal(0, 1, (25, 1)) + rng.normal(0, 0.5, (1, 8)) + rng.normal(0, 0.7, (25, 8))
        y[rng.random(y.shape) < 0.5] = np.nan
        scores, factors = table_of(y, ("query", "simulator"))
        found.append(list(variance_components(scores, factors, sources).raw.values()))

    assert [1, 0.25, 0.49] == pytest.approx(np.mean(found, axis=0).tolist(), rel=0.06)


def test_labels_of_nested_factors_may_start_anew() -> None:
    """Trial 0 of one query is not trial 0 of another, named so or not; order and origin do not matter."""
    rng = np.random.default_rng(4)
    scores, factors = table_of(rng.random((10, 3, 2)), ("query", "trial", "round"))
    names = [f"{query}/{trial}" for query, trial in zip(factors["query"], factors["trial"], strict=True)]
    order = rng.permutation(len(scores))

    shuffled = {name: np.array(labels)[order] for name, labels in {**factors, "trial": names}.items()}

    plain = variance_components(scores, factors, NESTED)
    named = variance_components(scores[order] + 7, shuffled, NESTED)

    assert list(plain.raw.values()) == pytest.approx(list(named.raw.values()))


def test_a_negative_estimate_is_0_and_can_be_seen() -> None:
    """Queries whose means differ less than their trials explain; shares add up to 1."""
    found = variance_components(*table_of([[0, 1], [1, 0], [0, 1]], ("query", "trial")), NESTED[:2])

    assert 0.0 == found.variances["query",] > found.raw["query",]
    assert 1.0 == pytest.approx(sum(found.shares.values()))


def test_scores_that_never_vary_have_no_variance() -> None:
    """All 0, and shares too."""
    found = variance_components(*table_of(np.ones((4, 3)), ("query", "trial")), NESTED[:2])

    assert (0.0, 0.0) == (found.total, sum(found.shares.values()))
    assert 0.0 == standard_error(found, {"query": 4, "trial": 3})


def test_the_standard_error_of_a_balanced_mean() -> None:
    """That of query means, which contain all sources."""
    rng = np.random.default_rng(5)
    y = rng.random((40, 1, 1)) + rng.random((40, 3, 1)) + rng.random((40, 3, 2))
    found = variance_components(*table_of(y, ("query", "trial", "round")), NESTED)

    error = standard_error(found, {"query": 40, "trial": 3, "round": 2})

    assert float(design_of(40).standard_error(y.mean(axis=(1, 2)))) == pytest.approx(error)


def test_what_more_of_each_buys() -> None:
    """Rounds help against a third of the variance, trials against two, queries against all."""
    third = Components(dict.fromkeys(NESTED, 1.0), dict.fromkeys(NESTED, 1.0), 9)

    bought = {one.factor: one for one in purchases(third, {"query": 100, "trial": 1, "round": 1})}

    assert math.sqrt(3 / 100) == pytest.approx(bought["query"].now)
    assert math.sqrt(3 / 200) == pytest.approx(bought["query"].double)
    assert math.sqrt(3 / 101) == pytest.approx(bought["query"].one_more)
    assert math.sqrt(2 / 100) == pytest.approx(bought["trial"].double)
    assert math.sqrt(2.5 / 100) == pytest.approx(bought["round"].one_more)
    assert [0, 0.1, math.sqrt(0.02)] == pytest.approx([one.limit for one in bought.values()])


def test_simulators_do_not_average_out_over_queries() -> None:
    """The shift that a simulator gives to all queries is divided by the number of simulators alone."""
    components = {("query",): 0.2, ("simulator",): 0.01, ("query", "simulator"): 0.1}
    found = Components(components, components, 1)

    error = standard_error(found, {"query": math.inf, "simulator": 2})

    assert math.sqrt(0.01 / 2) == pytest.approx(error)


def test_sources_that_cannot_be_told_apart_are_refused() -> None:
    """One trial per query, one simulator, a source named twice, a factor that is not there."""
    y = np.random.default_rng(7).random((10, 1, 3))
    scores, factors = table_of(y, ("query", "trial", "round"))

    for sources in (NESTED, [("trial",), ("query",)], [("query",), ("query",)]):
        with pytest.raises(ValueError, match=r"separated|distinguishes"):
            variance_components(scores, factors, sources)
    with pytest.raises(ValueError, match="No source distinguishes all scores"):
        variance_components(scores, factors, [("query",)])
    with pytest.raises(ValueError, match="cannot be separated"):
        variance_components(scores, factors, [("query",), ("trial",), ("query", "round")])
    with pytest.raises(ValueError, match="unknown: \\['judge'\\]"):
        variance_components(scores, factors, [("judge",)])
    with pytest.raises(ValueError, match="made of the factors"):
        variance_components(scores, factors, [])
    with pytest.raises(ValueError, match="list"):
        variance_components(y, factors, NESTED)
    found = variance_components(scores, factors, [("query",), ("query", "round")])
    with pytest.raises(ValueError, match="levels of round"):
        standard_error(found, {"query": 10})
    with pytest.raises(ValueError, match="levels of round"):
        standard_error(found, {"query": 10, "round": 0})


def test_what_more_judging_buys_on_real_data(real_data: Path) -> None:
    """Mean of six systems, macro: SE 1.88 points at one round, 1.77 at three, 1.71 at endlessly many."""
    verdicts = real_verdicts.load(real_data)
    design = design_of(765, groups=verdicts.groups)
    sources = [("group",), ("query",), ("query", "round")]
    found = []
    for points in np.moveaxis(verdicts.points, 1, 0):
        scores, factors = table_of(points, ("query", "round"))
        components = variance_components(
            scores, {**factors, "group": verdicts.groups[factors["query"]]}, sources
        )
        counts = {"group": math.inf, "query": design.effective_n}
        found.append([100 * standard_error(components, {**counts, "round": n}) for n in (1, 3, math.inf)])

    assert [1.88, 1.77, 1.71] == pytest.approx(np.mean(found, axis=0).tolist(), abs=0.005)
