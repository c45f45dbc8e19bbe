"""What one run of ``failures`` found, and how it differs from another; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from stb_evaluator.statistics.paired import Equivalence, equivalence
from stb_evaluator.statistics.sampling import design_of
from stb_experiments.output import Row

MARGIN = 0.015
ORIGINS = ("recorded", "live", "template", "miss")

Place = tuple[str, str]


@dataclass(frozen=True)
class Arm:
    """One way of answering calls: the server's options, and whether its cache has but a part."""

    name: str
    options: tuple[str, ...]
    is_partial: bool = False
    is_live: bool = False


@dataclass(frozen=True)
class Outcome:
    """One run: the score of each query in [0, 1], hashes of trajectories, answers of recorded calls."""

    scores: Mapping[Place, float]
    hashes: Mapping[Place, str]
    recorded: Mapping[str, str]
    origins: Counter[str] = field(default_factory=Counter)


def row_of(arm: Arm, agent: str, level: float, first: Outcome, here: Outcome) -> Row:
    """One agent in one arm at one level, beside the same at the first level."""
    test = compared(first, here)
    calls = sum(here.origins.values())
    return {
        "arm": arm.name,
        "agent": agent,
        "down": 100 * level,
        "n": len(here.scores),
        "score": 100 * macro(here.scores),
        "change": 100 * test.difference,
        "ci_low": 100 * test.interval.low,
        "ci_high": 100 * test.interval.high,
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


def _outcome_word(first: Outcome, here: Outcome, test: Equivalence) -> str:
    """``identical`` in every trajectory and score, ``equivalent``, ``different`` or ``undecided``."""
    if here.hashes == first.hashes and here.scores == first.scores:
        return "identical"
    if test.equivalent:
        return "equivalent"
    return "undecided" if test.interval.low <= 0 <= test.interval.high else "different"


def compared(first: Outcome, here: Outcome) -> Equivalence:
    """Whether a run's score is that of the first within the margin, query by query."""
    places = sorted(first.scores.keys() & here.scores.keys())
    before, after = ([outcome.scores[place] for place in places] for outcome in (first, here))
    return equivalence(after, before, MARGIN, groups=[group for group, _ in places])


def macro(scores: Mapping[Place, float]) -> float:
    """The mean of the groups' means, in [0, 1]."""
    places = sorted(scores)
    design = design_of(len(places), groups=[group for group, _ in places])
    return float(design.estimate(np.array([scores[place] for place in places])))


def changed_recorded(first: Outcome, here: Outcome) -> int:
    """How many calls that had a recording from the beginning were answered otherwise than before."""
    return sum(
        here.recorded[key] != first.recorded[key] for key in here.recorded.keys() & first.recorded.keys()
    )


def data_of(arm: Arm, agent: str, level: float, here: Outcome) -> list[Row]:
    """One row a query."""
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
