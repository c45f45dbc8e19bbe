"""What a run consumed: tokens and cost by who paid for them, and where its tool answers came from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from stb_core.store import Store
from stb_core.values.trajectories import FINISH
from stb_evaluator.judges.panel import Panel

UNKNOWN = "unknown"

# Judges that ask no model.
FREE_JUDGES = frozenset({"recorded", "rules"})


@dataclass
class Account:
    """Sums over trajectories and verdicts; a cost is None while no price is known.

    Tokens of a simulator are None where no trajectory tells, as those of imported runs do not.
    """

    agent_tokens: int = 0
    agent_cost_usd: float | None = None
    judge_tokens: int = 0
    judge_cost_usd: float | None = None
    simulator_tokens: int | None = None
    simulator_cost_usd: float | None = None
    calls: Counter[str] = field(default_factory=Counter)

    def add(self, other: Account) -> None:
        """Add another account to this one."""
        self.agent_tokens += other.agent_tokens
        self.judge_tokens += other.judge_tokens
        self.agent_cost_usd = _sum(self.agent_cost_usd, other.agent_cost_usd)
        self.judge_cost_usd = _sum(self.judge_cost_usd, other.judge_cost_usd)
        self.simulator_cost_usd = _sum(self.simulator_cost_usd, other.simulator_cost_usd)
        if other.simulator_tokens is not None:
            self.simulator_tokens = (self.simulator_tokens or 0) + other.simulator_tokens
        self.calls += other.calls

    def as_row(self) -> dict[str, Any]:
        """The fields of a result row."""
        return {
            "agent_tokens": self.agent_tokens,
            "agent_cost_usd": self.agent_cost_usd,
            "judge_tokens": self.judge_tokens,
            "judge_cost_usd": self.judge_cost_usd,
            "simulator_tokens": self.simulator_tokens,
            "simulator_cost_usd": self.simulator_cost_usd,
            "calls_by_provenance": dict(sorted(self.calls.items())),
        }


def _sum(one: float | None, other: float | None) -> float | None:
    known = [cost for cost in (one, other) if cost is not None]
    return sum(known) if known else None


async def accounts_of(
    store: Store,
    run: str,
    panel: Panel,
    *,
    metric: str,
    look: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Account]:
    """The account of every group of a run, with what this panel consumed on it.

    ``look`` is shown every trajectory, decoded from its JSON, so that nobody has to read them again.
    """
    found: dict[str, Account] = defaultdict(Account)
    async for document in store.runs.documents(run):
        trajectory = orjson.loads(document)
        look(trajectory)
        account = found[trajectory["group"]]
        _add_usage(account, "agent", trajectory["usage"])
        if usage := trajectory.get("simulator_usage"):
            _add_usage(account, "simulator", usage)
        for step in trajectory["steps"]:
            if step["function"] != FINISH:
                account.calls[step["provenance"] or UNKNOWN] += 1
    for member in panel.members:
        if member.judge not in FREE_JUDGES:
            for verdict in await store.verdicts.of_run(
                run, metric=metric, judge=member.judge, rubric=member.rubric
            ):
                _add_usage(found[verdict.group], "judge", verdict.usage.model_dump())
    return found


def _add_usage(account: Account, payer: str, usage: dict[str, Any]) -> None:
    tokens = usage["prompt_tokens"] + usage["completion_tokens"]
    setattr(account, f"{payer}_tokens", (getattr(account, f"{payer}_tokens") or 0) + tokens)
    cost = f"{payer}_cost_usd"
    setattr(account, cost, _sum(getattr(account, cost), usage["cost_usd"]))
