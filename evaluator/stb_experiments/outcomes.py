"""One run of the experiment ``failures``, and how it differs from another; pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from stb_evaluator.scores import QueryPlace
from stb_evaluator.statistics import Equivalence, design_of, equivalence
from stb_experiments.output import ExperimentRow

MARGIN = 0.015
"""Two scores in [0, 1] that differ by less than this count as equivalent."""
ORIGINS = ("recorded", "live", "template", "miss")


@dataclass(frozen=True)
class FailureArm:
    """One way of answering calls: the server's options, and whether its cache has only a part of the recordings."""

    name: str
    options: tuple[str, ...]
    is_partial: bool = False
    is_live: bool = False


@dataclass(frozen=True)
class FailureRun:
    """One run: score of each query in [0, 1], hashes of trajectories, observations of recorded calls by key."""

    scores: Mapping[QueryPlace, float]
    hashes: Mapping[QueryPlace, str]
    recorded: Mapping[str, str]
    origins: Counter[str] = field(default_factory=Counter)


def failure_row(
    arm: FailureArm, agent: str, level: float, first: FailureRun, here: FailureRun
) -> ExperimentRow:
    """The row of one agent in one arm at one level, compared with the first level of the same arm."""
    test = compare_scores(first, here)
    calls = sum(here.origins.values())
    interval = test.interval.around(test.difference).scaled(100)
    return {
        "arm": arm.name,
        "agent": agent,
        "down": 100 * level,
        "n": len(here.scores),
        "score": 100 * macro_mean(here.scores),
        "change": 100 * test.difference,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "margin": 100 * MARGIN,
        "outcome": _outcome_word(first, here, test),
        "equivalent": test.equivalent,
        "p_equivalence": test.p,
        "changed_trajectories": sum(here.hashes[place] != first.hashes[place] for place in here.hashes),
        "changed_recorded": changed_recorded(first, here),
        "recorded_calls": len(here.recorded),
        "calls": calls,
        **{f"calls_{name.replace('-', '_')}": here.origins[name] for name in ORIGINS},
    }


def _outcome_word(first: FailureRun, here: FailureRun, test: Equivalence) -> str:
    """``identical`` in every trajectory and score, ``equivalent``, ``different`` or ``undecided``."""
    if here.hashes == first.hashes and here.scores == first.scores:
        return "identical"
    if test.equivalent:
        return "equivalent"
    return "undecided" if test.interval.low <= 0 <= test.interval.high else "different"


def compare_scores(first: FailureRun, here: FailureRun) -> Equivalence:
    """A paired test, query by query, of whether a run's score equals that of the first within ``MARGIN``."""
    places = sorted(first.scores.keys() & here.scores.keys())
    before, after = ([outcome.scores[place] for place in places] for outcome in (first, here))
    return equivalence(after, before, MARGIN, groups=[group for group, _ in places])


def macro_mean(scores: Mapping[QueryPlace, float]) -> float:
    """The mean of the groups' means, in [0, 1]."""
    places = sorted(scores)
    design = design_of(len(places), groups=[group for group, _ in places])
    return float(design.estimate(np.array([scores[place] for place in places])))


def changed_recorded(first: FailureRun, here: FailureRun) -> int:
    """The number of calls with a recording whose answer changed."""
    return sum(
        here.recorded[key] != first.recorded[key] for key in here.recorded.keys() & first.recorded.keys()
    )


def query_rows(arm: FailureArm, agent: str, level: float, here: FailureRun) -> list[ExperimentRow]:
    """One row per query."""
    return [
        {
            "arm": arm.name,
            "agent": agent,
            "down": 100 * level,
            "group": group,
            "query_id": query_id,
            "score": score,
            "content_hash": here.hashes.get((group, query_id), ""),
        }
        for (group, query_id), score in here.scores.items()
    ]
