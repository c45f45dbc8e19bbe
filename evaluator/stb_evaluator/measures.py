"""What can be measured of trajectories without a judge, each with an interval; pure.

Shares of answers are means over trajectories; shares of calls are ratios of sums, so that a long
trajectory weighs by its calls. Trials of one query are averaged first: the unit is the query.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stb_core.calls import canonical_json, parse_arguments
from stb_core.errors import CallError
from stb_core.queries import group_order
from stb_core.trajectories import FINISH, Step, StopReason, Trajectory
from stb_evaluator.intervals import Interval, bayesian_interval, bootstrap_interval, is_small
from stb_evaluator.sampling import Array
from stb_evaluator.scores import MICRO

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Measure:
    """One value of one group; ``value`` and ends in ``unit``, which is "%" or what is counted."""

    name: str
    group: str
    unit: str
    value: float | None
    low: float | None
    high: float | None
    method: str
    n: int


@dataclass(frozen=True)
class _Definition:
    """A ratio of two numbers of a trajectory, times ``scale``."""

    unit: str
    above: Callable[[Trajectory], float]
    below: Callable[[Trajectory], float]
    scale: float = 1.0


def calls_of(trajectory: Trajectory) -> list[Step]:
    """All calls of tools; ``Finish`` is none."""
    return [step for step in trajectory.steps if step.function != FINISH]


def count_redundant(steps: Sequence[Step]) -> int:
    """Calls that repeat an earlier one of the same function with the same arguments."""
    seen: set[tuple[str, bytes]] = set()
    repeated = 0
    for step in steps:
        call = (step.function, _canonical(step.arguments))
        repeated += call in seen
        seen.add(call)
    return repeated


def _canonical(arguments: str) -> bytes:
    try:
        return canonical_json(parse_arguments(arguments))
    except CallError:
        return arguments.encode("utf-8", "replace")


def _one(_: Trajectory) -> float:
    return 1.0


def _n_calls(trajectory: Trajectory) -> float:
    return float(len(calls_of(trajectory)))


def _stopped(*reasons: StopReason) -> _Definition:
    return _Definition("%", lambda t: float(t.stop in reasons), _one, 100)


def _calls_that(test: Callable[[Step], bool]) -> _Definition:
    return _Definition("%", lambda t: float(sum(map(test, calls_of(t)))), _n_calls, 100)


_ENDED = (StopReason.ANSWERED, StopReason.GAVE_UP, StopReason.INFRASTRUCTURE)

DEFINITIONS: Mapping[str, _Definition] = {
    "finished": _stopped(StopReason.ANSWERED),
    "gave_up": _stopped(StopReason.GAVE_UP),
    "no_finish": _stopped(*(reason for reason in StopReason if reason not in _ENDED)),
    "hallucinated_calls": _calls_that(lambda step: step.hallucinated),
    "failed_calls": _calls_that(lambda step: bool(step.error)),
    "redundant_calls": _Definition("%", lambda t: float(count_redundant(calls_of(t))), _n_calls, 100),
    "calls": _Definition("calls", _n_calls, _one),
    "model_calls": _Definition("calls", lambda t: float(t.usage.model_calls), _one),
    "tokens": _Definition("tokens", lambda t: float(t.usage.total_tokens), _one),
    "seconds": _Definition("s", lambda t: t.timing.seconds, _one),
    "cost_usd": _Definition("USD", lambda t: t.usage.cost_usd or 0.0, _one),
}

# Where every trajectory has 0 of these, nobody wrote them down.
MAY_BE_UNKNOWN = ("model_calls", "tokens", "seconds", "cost_usd")


def measure(trajectories: Iterable[Trajectory], *, seed: int = 0) -> list[Measure]:
    """All measures by group and over all queries; what infrastructure spoiled is left out."""
    usable = [t for t in trajectories if t.stop is not StopReason.INFRASTRUCTURE]
    groups = sorted({t.group for t in usable}, key=group_order)
    definitions = {**DEFINITIONS, **_provenance(usable)}
    for name in MAY_BE_UNKNOWN:
        if not any(definitions[name].above(t) for t in usable):
            del definitions[name]
    return [
        _measure(name, definition, group, [t for t in usable if group in {t.group, MICRO}], seed)
        for name, definition in definitions.items()
        for group in [*groups, *([MICRO] if groups else [])]
    ]


def _provenance(trajectories: Sequence[Trajectory]) -> dict[str, _Definition]:
    """One measure for each origin of tool answers that occurs."""
    origins = {step.provenance or UNKNOWN for t in trajectories for step in calls_of(t)}

    def share(origin: str) -> _Definition:
        return _calls_that(lambda step: (step.provenance or UNKNOWN) == origin)

    return {f"provenance_{origin}": share(origin) for origin in sorted(origins)}


def _measure(
    name: str, definition: _Definition, group: str, trajectories: Sequence[Trajectory], seed: int
) -> Measure:
    by_query: dict[tuple[str, str], list[Trajectory]] = {}
    for one in trajectories:
        by_query.setdefault((one.group, one.query_id), []).append(one)
    sums = np.array(
        [
            [np.mean([definition.above(t) for t in ones]), np.mean([definition.below(t) for t in ones])]
            for ones in by_query.values()
        ]
    )
    value = _ratio(sums.mean(axis=0)) if len(sums) else float("nan")
    if np.isnan(value):
        return Measure(name, group, definition.unit, None, None, None, "", len(sums))
    interval = _interval(sums, value, [place[0] for place in by_query], definition, seed)
    scale = definition.scale
    low, high = (interval.low * scale, interval.high * scale) if interval else (None, None)
    method = interval.method if interval else ""
    return Measure(name, group, definition.unit, value * scale, low, high, method, len(sums))


def _interval(
    sums: Array, value: float, groups: Sequence[str], definition: _Definition, seed: int
) -> Interval | None:
    """Of the ratio, by what each query adds to it (linearised; Cochran, "Sampling techniques", 1977, ch. 6).

    A share that hardly varies gets the Bayesian interval of so many queries; None where a group has a
    single query and nothing can be said.
    """
    parts = value + (sums[:, 0] - value * sums[:, 1]) / sums[:, 1].mean()
    is_share = definition.unit == "%"
    if is_share and is_small(np.clip(parts, 0, 1)):
        return bayesian_interval(value, len(parts))
    if min(Counter(groups).values()) < 2:
        return None
    found = bootstrap_interval(parts, groups=list(groups), weighting="micro", seed=seed)
    return replace(found, low=max(0.0, found.low), high=min(1.0, found.high) if is_share else found.high)


def _ratio(sums: Array) -> float:
    return float(sums[0] / sums[1]) if sums[1] > 0 else float("nan")
