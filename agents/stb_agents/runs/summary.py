"""What a run has done so far, group by group: outcomes, calls by provenance, tokens, cost, time."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from typing import Any

from stb_core.llm import REFUSED, written_calls
from stb_core.store import Run
from stb_core.usage import Usage
from stb_core.values import FINISH, StopReason, Trajectory, group_order

ALL = "all"


@dataclass
class Tally:
    """Counts over the trials of one group, or of all."""

    group: str
    n_total: int
    stops: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    hallucinated: int = 0
    usage: Usage = field(default_factory=Usage)
    simulator: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    n_written: int = 0
    """Trials that called nothing, and whose model wrote calls as text."""
    n_silent: int = 0
    """Trials of an agent with a model that called nothing and gave no answer, though the endpoint refused nothing."""

    def add(self, trajectory: Trajectory) -> None:
        """Count one trial."""
        self.stops[trajectory.stop.value] += 1
        self.calls.update(step.provenance for step in trajectory.all_steps if step.provenance)
        self.hallucinated += sum(step.hallucinated for step in trajectory.all_steps)
        self.usage += trajectory.usage
        self.simulator += trajectory.simulator_usage or Usage()
        self.seconds += trajectory.timing.seconds
        self.n_written += _writes_calls(trajectory)
        self.n_silent += _is_silent(trajectory)

    @property
    def n_done(self) -> int:
        """Trials with a result; a trial that was lost to an infrastructure failure has none."""
        return self.stops.total() - self.stops[StopReason.INFRASTRUCTURE.value]

    @property
    def refused(self) -> dict[str, int]:
        """How a trial ended → how many ended so because the model's endpoint refused their requests and not others."""
        return {stop.value: self.stops[stop.value] for stop in REFUSED if self.stops[stop.value]}

    def row(self, run: Run) -> dict[str, Any]:
        """The counts as a row of the JSON document."""
        n_calls = self.calls.total()
        return {
            "run": run.run,
            "name": run.name,
            "dataset": run.dataset,
            "agent": run.agent,
            "model": run.model,
            "group": self.group,
            "n_total": self.n_total,
            "n_done": self.n_done,
            "complete": self.n_done == self.n_total,
            "stops": dict(sorted(self.stops.items())),
            "n_calls": n_calls,
            "calls": dict(sorted(self.calls.items())),
            "calls_percent": {
                name: round(100 * count / n_calls, 1) for name, count in sorted(self.calls.items())
            },
            "n_hallucinated": self.hallucinated,
            "model_calls": self.usage.model_calls,
            "prompt_tokens": self.usage.prompt_tokens,
            "completion_tokens": self.usage.completion_tokens,
            "cached_tokens": self.usage.cached_tokens,
            "cost_usd": self.usage.cost_usd,
            "simulator_calls": self.simulator.model_calls,
            "simulator_tokens": self.simulator.total_tokens,
            "simulator_cost_usd": self.simulator.cost_usd,
            "trials_with_written_calls": self.n_written,
            "trials_without_calls": self.n_silent,
            "timed_out_requests": self.usage.timed_out + self.simulator.timed_out,
            "seconds": round(self.seconds, 3),
        }


def _is_silent(trajectory: Trajectory) -> bool:
    ends = {StopReason.ANSWERED, StopReason.INFRASTRUCTURE, StopReason.AGENT_ERROR, *REFUSED}
    return trajectory.usage.model_calls > 0 and not trajectory.all_steps and trajectory.stop not in ends


def _writes_calls(trajectory: Trajectory) -> bool:
    """Whether a trial called nothing, and its model wrote calls of functions that it was offered as text."""
    if trajectory.all_steps:
        return False
    known = {*trajectory.available_tools, FINISH}
    return any(
        written_calls(m.content, known) for m in trajectory.messages if m.role == "assistant" and m.content
    )


@dataclass(frozen=True)
class Summary:
    """A run's tallies, that of all groups last, and its trials without a result, with the reason."""

    tallies: tuple[Tally, ...]
    missing: tuple[dict[str, Any], ...]

    @property
    def reasons(self) -> dict[str, list[dict[str, Any]]]:
        """Reason → the trials without a result for it; one fault may cost many trials."""
        by_reason: dict[str, list[dict[str, Any]]] = {}
        for trial in self.missing:
            by_reason.setdefault(trial["reason"], []).append(trial)
        return by_reason


async def summarise(run: Run, trajectories: AsyncIterable[Trajectory]) -> Summary:
    """Count a run's trajectories, in one pass.

    Args:
        run: what is expected of it.
        trajectories: its trajectories.
    """
    by_group = {
        group: Tally(group, run.trials * len(ids))
        for group, ids in sorted(run.expected.items(), key=lambda item: group_order(item[0]))
    }
    total = Tally(ALL, run.n_expected)
    left = {
        (group, query_id, trial): "not run"
        for group, ids in run.expected.items()
        for query_id in ids
        for trial in range(run.trials)
    }
    async for trajectory in trajectories:
        for tally in (by_group.get(trajectory.group), total):
            if tally:
                tally.add(trajectory)
        place = (trajectory.group, trajectory.query_id, trajectory.trial)
        if trajectory.stop is StopReason.INFRASTRUCTURE:
            left[place] = trajectory.error
        else:
            left.pop(place, None)
    missing = tuple(
        {"group": group, "query_id": query_id, "trial": trial, "reason": reason}
        for (group, query_id, trial), reason in left.items()
    )
    tallies = (*by_group.values(), total) if len(by_group) != 1 else tuple(by_group.values())
    return Summary(tallies, missing)
