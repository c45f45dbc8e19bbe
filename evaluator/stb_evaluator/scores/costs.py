"""What a run consumed: tokens and costs of agent, judge and simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Judges that ask no model.
FREE_JUDGES = frozenset({"recorded", "rules"})


@dataclass
class Account:
    """Sums over trajectories and verdicts; a cost is None while no price is known.

    The tokens of a simulator are None if no trajectory records them, as in imported runs.
    """

    agent_tokens: int = 0
    agent_cost_usd: float | None = None
    judge_tokens: int = 0
    judge_cost_usd: float | None = None
    simulator_tokens: int | None = None
    simulator_cost_usd: float | None = None
    copied_verdicts: int = 0
    """Verdicts of rounds for which no judge was asked."""

    def add(self, other: Account) -> None:
        """Add another account to this one."""
        self.agent_tokens += other.agent_tokens
        self.judge_tokens += other.judge_tokens
        self.copied_verdicts += other.copied_verdicts
        self.agent_cost_usd = _sum(self.agent_cost_usd, other.agent_cost_usd)
        self.judge_cost_usd = _sum(self.judge_cost_usd, other.judge_cost_usd)
        self.simulator_cost_usd = _sum(self.simulator_cost_usd, other.simulator_cost_usd)
        if other.simulator_tokens is not None:
            self.simulator_tokens = (self.simulator_tokens or 0) + other.simulator_tokens

    def add_trajectory(self, trajectory: Mapping[str, Any]) -> None:
        """Add what agent and simulator consumed for one trajectory, as its JSON form says."""
        self.add_usage("agent", trajectory["usage"])
        if usage := trajectory.get("simulator_usage"):
            self.add_usage("simulator", usage)

    def add_usage(self, payer: str, usage: Mapping[str, Any]) -> None:
        """Add tokens and cost to those of ``agent``, ``simulator`` or ``judge``."""
        tokens = usage["prompt_tokens"] + usage["completion_tokens"]
        setattr(self, f"{payer}_tokens", (getattr(self, f"{payer}_tokens") or 0) + tokens)
        cost = f"{payer}_cost_usd"
        setattr(self, cost, _sum(getattr(self, cost), usage["cost_usd"]))

    def as_row(self) -> dict[str, Any]:
        """The fields of a result row."""
        return {
            "agent_tokens": self.agent_tokens,
            "agent_cost_usd": self.agent_cost_usd,
            "judge_tokens": self.judge_tokens,
            "judge_cost_usd": self.judge_cost_usd,
            "simulator_tokens": self.simulator_tokens,
            "simulator_cost_usd": self.simulator_cost_usd,
            "copied_verdicts": self.copied_verdicts,
        }


def _sum(one: float | None, other: float | None) -> float | None:
    known = [cost for cost in (one, other) if cost is not None]
    return sum(known) if known else None
