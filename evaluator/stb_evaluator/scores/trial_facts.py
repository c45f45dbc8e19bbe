"""What one trial says about its own score: why it stopped, and where the answers to its calls came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stb_core.values import FINISH, NOT_STATED, Provenance, TrialPlace, count_provenances

MADE_UP = frozenset({Provenance.SIMULATED, Provenance.RECORDED_SIMULATED, Provenance.TEMPLATE})
"""Answers that a model or a rule made, now or earlier."""

KINDS: Mapping[str, tuple[str, ...]] = {
    "recorded": (Provenance.RECORDED,),
    "live": (Provenance.LIVE,),
    "simulated": (Provenance.SIMULATED, Provenance.RECORDED_SIMULATED),
    "template": (Provenance.TEMPLATE,),
    "miss": (Provenance.MISS,),
    "fault": (Provenance.FAULT,),
    "not_stated": (NOT_STATED,),
}
"""The provenances whose shares a score row carries, by the name of the share."""


@dataclass(frozen=True, slots=True)
class TrialFacts:
    """One trial. ``calls`` counts its calls by provenance, see ``count_provenances``.

    ``n_functions`` counts the functions that the agent called, without a ``Finish`` that ended the trial;
    ``n_unusable`` those of them that could not be made: an unknown function, or unusable arguments.
    """

    stop: str
    calls: Counter[str]
    n_functions: int = 0
    n_unusable: int = 0

    @classmethod
    def of(cls, trajectory: Mapping[str, Any]) -> TrialFacts:
        """Those of a trajectory in its JSON form."""
        nodes = [step for node in trajectory.get("tree") or () if (step := node.get("step"))]
        all_steps = nodes or trajectory["steps"]
        steps = [step for step in all_steps if step["function"] != FINISH or step["error"]]
        unusable = sum(bool(step["error"]) and not step["provenance"] for step in steps)
        return cls(trajectory["stop"], count_provenances(trajectory), len(steps), unusable)

    @property
    def has_made_up_answers(self) -> bool:
        """Whether a model or a rule made one of the answers that the agent got."""
        return not MADE_UP.isdisjoint(self.calls)


ScoredTrials = Mapping[TrialPlace, TrialFacts]
"""The trials on which the scores of a run rest: expected, and not lost to infrastructure."""


def count_calls(trials: Iterable[TrialFacts]) -> Counter[str]:
    """The calls of several trials by provenance."""
    total: Counter[str] = Counter()
    for trial in trials:
        total.update(trial.calls)
    return total


def shares_of(calls: Mapping[str, int]) -> dict[str, float | None]:
    """The share of each of ``KINDS`` in percent, by name; None if there are no calls."""
    total = sum(calls.values())
    return {
        kind: 100 * sum(calls.get(name, 0) for name in names) / total if total else None
        for kind, names in KINDS.items()
    }


def share_columns(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The shares that a table of these rows shows, each with its head: recordings, misses, and what occurs."""
    rows = list(rows)
    return {
        f"{kind}_percent": kind.replace("_", " ")
        for kind in KINDS
        if kind in {"recorded", "miss"} or any(row[f"{kind}_percent"] for row in rows)
    }


def provenance_fields(calls: Mapping[str, int]) -> dict[str, Any]:
    """The fields of a result row about the provenance of answers."""
    return {
        "calls_by_provenance": {str(name): count for name, count in sorted(calls.items())},
        "n_calls": sum(calls.values()),
        **{f"{kind}_percent": share for kind, share in shares_of(calls).items()},
    }
