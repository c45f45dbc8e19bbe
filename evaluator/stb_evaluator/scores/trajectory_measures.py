"""Measures of trajectories that need no judge, each with an interval; pure.

Shares of answers are means over trajectories; shares of calls are ratios of sums, so that a long
trajectory weighs by its calls. Trials of one query are averaged first: the unit is the query.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stb_core.errors import CallError
from stb_core.values import FINISH, Step, StopReason, Trajectory, canonical_json, group_order, parse_arguments
from stb_evaluator.scores.pass_rate import MICRO
from stb_evaluator.statistics import Array, Interval, bayesian_interval, bootstrap_ends, design_of, is_small

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
    """All tool calls; ``Finish`` is not one."""
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

# If all trajectories have 0 of these, they were not recorded.
MAY_BE_UNKNOWN = ("model_calls", "tokens", "seconds", "cost_usd")


def measure(trajectories: Iterable[Trajectory], *, seed: int = 0) -> list[Measure]:
    """All measures by group and over all queries, without trials lost to infrastructure failures."""
    usable = [t for t in trajectories if t.stop is not StopReason.INFRASTRUCTURE]
    groups = sorted({t.group for t in usable}, key=group_order)
    definitions = {**DEFINITIONS, **_provenance(usable)}
    for name in MAY_BE_UNKNOWN:
        if not any(definitions[name].above(t) for t in usable):
            del definitions[name]
    return [
        found
        for group in [*groups, *([MICRO] if groups else [])]
        for found in _measure_group(
            definitions, group, [t for t in usable if group in {t.group, MICRO}], seed
        )
    ]


def _provenance(trajectories: Sequence[Trajectory]) -> dict[str, _Definition]:
    """One measure for each origin of tool answers that occurs."""
    origins = {step.provenance or UNKNOWN for t in trajectories for step in calls_of(t)}

    def share(origin: str) -> _Definition:
        return _calls_that(lambda step: (step.provenance or UNKNOWN) == origin)

    return {f"provenance_{origin}": share(origin) for origin in sorted(origins)}


@dataclass(frozen=True)
class _Ratio:
    """One measure of a group: its value, and what each query adds to it, shape (queries,)."""

    name: str
    definition: _Definition
    value: float
    parts: Array

    @property
    def is_small_share(self) -> bool:
        """Whether it barely varies, so that resampling says nothing."""
        return self.definition.unit == "%" and is_small(np.clip(self.parts, 0, 1))


def _measure_group(
    definitions: Mapping[str, _Definition], group: str, trajectories: Sequence[Trajectory], seed: int
) -> list[Measure]:
    by_query: dict[tuple[str, str], list[Trajectory]] = {}
    for one in trajectories:
        by_query.setdefault((one.group, one.query_id), []).append(one)
    ratios = [_ratio(name, definition, by_query.values()) for name, definition in definitions.items()]
    known = [ratio for ratio in ratios if ratio is not None]
    intervals = _intervals(known, [place[0] for place in by_query], seed)
    made = [_as_measure(ratio, interval, group) for ratio, interval in zip(known, intervals, strict=True)]
    lacking = definitions.keys() - {ratio.name for ratio in known}
    return made + [
        Measure(name, group, definitions[name].unit, None, None, None, "", len(by_query))
        for name in definitions
        if name in lacking
    ]


def _as_measure(ratio: _Ratio, interval: Interval | None, group: str) -> Measure:
    scale, n = ratio.definition.scale, len(ratio.parts)
    ends = interval.around(ratio.value).scaled(scale) if interval else None
    low, high = (ends.low, ends.high) if ends else (None, None)
    method = interval.method if interval else ""
    return Measure(ratio.name, group, ratio.definition.unit, ratio.value * scale, low, high, method, n)


def _ratio(name: str, definition: _Definition, queries: Iterable[Sequence[Trajectory]]) -> _Ratio | None:
    """A ratio of sums and its linearisation (Cochran, "Sampling Techniques", 1977, chapter 6).

    None where the sum below is 0.
    """
    above = np.array([np.mean([definition.above(t) for t in ones]) for ones in queries])
    below = np.array([np.mean([definition.below(t) for t in ones]) for ones in queries])
    if not below.sum() > 0:
        return None
    value = float(above.sum() / below.sum())
    return _Ratio(name, definition, value, value + (above - value * below) / below.mean())


def _intervals(ratios: Sequence[_Ratio], groups: Sequence[str], seed: int) -> list[Interval | None]:
    """One interval each, all from the same draws of queries.

    A share that barely varies gets the Bayesian interval; None if a group has a single query.
    """
    found: list[Interval | None] = [
        bayesian_interval(ratio.value, len(groups)) if ratio.is_small_share else None for ratio in ratios
    ]
    drawn = [number for number, interval in enumerate(found) if interval is None]
    if drawn and min(Counter(groups).values()) > 1:
        design = design_of(len(groups), groups=list(groups), weighting="micro")
        ends = bootstrap_ends(np.column_stack([ratios[n].parts for n in drawn]), design, seed=seed)
        for number, low, high in zip(drawn, *ends, strict=True):
            top = 1.0 if ratios[number].definition.unit == "%" else np.inf
            found[number] = Interval(max(0.0, float(low)), min(top, float(high)), "bootstrap")
    return found
