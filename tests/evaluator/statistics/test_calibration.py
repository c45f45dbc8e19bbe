"""Intervals hold the truth as often as they say, and tests err no more often than they say.

Over 1,000 synthetic benchmarks and more, of the size and groups of the real one, with queries of
unequal difficulty, a judge that errs and is sometimes unsure, and three rounds of it. Each is judged as
a table would be, by the same functions; the truth is known in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from stb_evaluator.statistics.intervals import bootstrap_ends, clustered_interval, mean_interval
from stb_evaluator.statistics.judge_error import ppi_mean
from stb_evaluator.statistics.multiplicity import rank_bounds
from stb_evaluator.statistics.paired import compare_all, difference_intervals, equivalence
from stb_evaluator.statistics.sampling import design_of
from stb_evaluator.statistics.significance import mcnemar, sign_flip_tests

SIZES = np.array([163, 153, 158, 124, 106, 61])
GROUPS = np.repeat(np.arange(6), SIZES)
DESIGN = design_of(765, groups=GROUPS)
BENCHMARKS = 1000
# How often an answer of a group's queries is solved, on average.
RATES = np.array([0.35, 0.6, 0.5, 0.45, 0.55, 0.3])
# What the judge says of solved and of other answers: solved, unsure, otherwise unsolved.
SAYS = {True: (0.85, 0.07), False: (0.12, 0.08)}
COVERED = pytest.approx(0.95, abs=0.02)


@dataclass(frozen=True)
class Run:
    """``solved`` and mean points over rounds, shapes (queries, benchmarks); the true macro scores."""

    solved: np.ndarray
    points: np.ndarray
    true_solved: float
    true_points: float


def difficulty(rng: np.random.Generator, spread: float = 2.0) -> np.ndarray:
    """The chance of each query to be solved, Beta around the rate of its group."""
    rates = RATES[GROUPS][:, None]
    return rng.beta(spread * rates, spread * (1 - rates), (765, BENCHMARKS))


def run(rng: np.random.Generator, chance: np.ndarray, lift: float = 0.0, rounds: int = 3) -> Run:
    """A system that turns a share ``lift`` of its failures into successes."""
    solved = rng.random(chance.shape) < chance + lift * (1 - chance)
    points = np.zeros(chance.shape)
    for _ in range(rounds):
        said = rng.random(chance.shape)
        for truth, (yes, unsure) in SAYS.items():
            points += (solved == truth) * ((said < yes) + 0.5 * ((said >= yes) & (said < yes + unsure)))
    expected = {truth: yes + unsure / 2 for truth, (yes, unsure) in SAYS.items()}
    rate = float(np.mean(RATES + lift * (1 - RATES)))
    return Run(solved, points / rounds, rate, rate * expected[True] + (1 - rate) * expected[False])


def share(low: np.ndarray, high: np.ndarray, truth: float) -> float:
    return float(((low <= truth) & (truth <= high)).mean())


def test_the_interval_of_sopr_covers_95_percent() -> None:
    """The macro mean over six groups, bootstrapped within each."""
    rng = np.random.default_rng(1)
    system = run(rng, difficulty(rng))

    low, high = bootstrap_ends(system.points, DESIGN, resamples=2000, seed=2)

    assert COVERED == share(low, high, system.true_points)


def test_the_interval_of_a_paired_difference_covers_95_percent() -> None:
    """Two systems that find the same queries hard, one of them better."""
    rng = np.random.default_rng(3)
    chance = difficulty(rng)
    a, b = run(rng, chance, lift=0.1), run(rng, chance)

    found = difference_intervals(a.points - b.points, DESIGN, resamples=2000, seed=4)

    ends = np.array([(interval.low, interval.high) for interval in found])
    assert COVERED == share(*ends.T, a.true_points - b.true_points)


@pytest.mark.parametrize("n", [8, 20, 40])
def test_the_interval_of_a_small_difference_covers_at_least_95_percent(n: int) -> None:
    """Few queries, on most of which both systems do alike."""
    rng = np.random.default_rng(n)
    moves = rng.choice([-1.0, 0.0, 1.0], p=[0.05, 0.8, 0.15], size=(n, 2000))

    found = difference_intervals(moves, design_of(n), resamples=1000)

    ends = np.array([(interval.low, interval.high) for interval in found])
    assert 0.94 <= share(*ends.T, 0.1) <= 0.995


@pytest.mark.parametrize("weighting", ["macro", "micro"])
def test_the_corrected_score_covers_95_percent(weighting: str) -> None:
    """A fifth of the queries of each group labelled; the truth is what people would say."""
    rng = np.random.default_rng(5)
    system = run(rng, difficulty(rng))
    truth = system.true_solved if weighting == "macro" else float(np.average(RATES, weights=SIZES))
    known = np.concatenate([rng.permutation(size) < size // 5 for size in SIZES])

    labels = np.where(known[:, None], system.solved, np.nan)
    found = [
        ppi_mean(judged, human, groups=GROUPS, weighting=weighting)  # type: ignore[arg-type]
        for judged, human in zip(system.points.T, labels.T, strict=True)
    ]

    ends = np.array([(one.interval.low, one.interval.high) for one in found])
    assert COVERED == share(*ends.T, truth)
    # The judge's own score is far off, and the labels alone know less.
    assert abs(system.true_points - system.true_solved) > 0.02
    alone = [
        ppi_mean(j, h, groups=GROUPS, tuning=0)
        for j, h in zip(system.points.T[:50], labels.T[:50], strict=True)
    ]
    if weighting == "macro":
        errors = [[one.standard_error for one in some] for some in (found[:50], alone)]
        assert np.mean(errors[0]) < 0.85 * np.mean(errors[1])


def test_the_corrected_difference_covers_95_percent() -> None:
    """Both systems' answers to the same fifth of the queries labelled."""
    rng = np.random.default_rng(6)
    chance = difficulty(rng)
    a, b = run(rng, chance, lift=0.1), run(rng, chance)
    known = np.concatenate([rng.permutation(size) < size // 5 for size in SIZES])[:, None]
    label_a, label_b = (np.where(known, one.solved, np.nan) for one in (a, b))

    found = [
        ppi_mean(a.points[:, i] - b.points[:, i], label_a[:, i] - label_b[:, i], groups=GROUPS)
        for i in range(BENCHMARKS)
    ]

    ends = np.array([(one.interval.low, one.interval.high) for one in found])
    assert COVERED == share(*ends.T, a.true_solved - b.true_solved)


@pytest.mark.parametrize(("n", "rate"), [(10, 0.5), (20, 0.8), (25, 0.3), (60, 0.95)])
def test_the_interval_of_a_small_group_covers_about_95_percent(n: int, rate: float) -> None:
    """Shares of few queries take few values, so coverage jumps about 95 % (Brown and others, 2001)."""
    scores = (np.random.default_rng(n).random((BENCHMARKS, n)) < rate).astype(float)

    ends = np.array([(found.low, found.high) for found in map(mean_interval, scores)])

    assert share(*ends.T, rate) == pytest.approx(0.95, abs=0.035)


def test_clusters_are_covered_only_when_they_are_named() -> None:
    """60 sets of tools, each of which makes its queries easier or harder together."""
    rng = np.random.default_rng(8)
    clusters = np.sort(rng.integers(0, 60, 600))
    chance = rng.beta(1, 1, (BENCHMARKS, 60))[:, clusters]
    scores = (rng.random(chance.shape) < chance).astype(float)

    named = np.array([(i.low, i.high) for i in (clustered_interval(one, clusters) for one in scores)])
    unnamed = bootstrap_ends(scores.T, design_of(600), resamples=1000)

    assert COVERED == share(*named.T, 0.5)
    assert share(*unnamed, 0.5) < 0.75


def test_the_paired_test_errs_in_5_percent() -> None:
    """4,000 benchmarks with two systems that are equally good: 4 to 6 % are called different."""
    p = []
    for seed in range(4):
        rng = np.random.default_rng(100 + seed)
        chance = difficulty(rng)
        a, b = run(rng, chance), run(rng, chance)
        found = sign_flip_tests(a.points - b.points, DESIGN, resamples=999, seed=seed)
        p += [one.p for one in found]

    assert 0.04 <= np.mean(np.array(p) <= 0.05) <= 0.06


def test_mcnemar_errs_in_at_most_5_percent() -> None:
    """As often on passed and failed alone; the exact test errs less often than it may."""
    rng = np.random.default_rng(9)
    chance = difficulty(rng)
    a, b = run(rng, chance).solved, run(rng, chance).solved
    only_a, only_b = (a & ~b).sum(axis=0), (b & ~a).sum(axis=0)

    errors = [
        np.mean([mcnemar(int(x), int(y), mid_p=mid_p).p <= 0.05 for x, y in zip(only_a, only_b, strict=True)])
        for mid_p in (True, False)
    ]

    assert 0.03 <= errors[0] <= 0.06
    assert errors[1] <= errors[0]


def test_systems_at_the_margin_are_called_equivalent_in_at_most_5_percent() -> None:
    """A difference of exactly the margin is what the test must not overlook."""
    rng = np.random.default_rng(10)
    noise = np.clip(rng.normal(0, 0.1, (400, BENCHMARKS)), -0.4, 0.4)
    base = np.full(400, 0.5)

    called = [equivalence(base + 0.015 + one, base, 0.015).equivalent for one in noise.T]

    assert 0.035 <= np.mean(called) <= 0.065


def test_rank_bounds_hold_together_in_95_percent() -> None:
    """Five systems, two of them nearly equal: all true ranks within their bounds."""
    rng = np.random.default_rng(11)
    lifts = [0.0, 0.005, 0.06, 0.12, 0.18]
    chance = difficulty(rng)[:, :60]
    points = np.stack([run(rng, chance, lift).points for lift in lifts], axis=2)

    held = []
    for benchmark in np.moveaxis(points, 1, 0):
        compared = compare_all(benchmark, DESIGN, resamples=499)
        bounds = rank_bounds([(c.first, c.second, c.difference, c.significance.p) for c in compared])
        held.append(all(b.low <= rank <= b.high for b, rank in zip(bounds, (5, 4, 3, 2, 1), strict=True)))

    assert np.mean(held) >= 0.95
