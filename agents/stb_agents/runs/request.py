"""What ``stb run`` can be asked: one frozen value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from stb_agents.environment.agent import Agent
from stb_agents.environment.budget import Budget
from stb_agents.environment.environment import Sampling
from stb_agents.runs.runner import Conduct
from stb_agents.runs.toolsets import GIVEN
from stb_core.errors import UsageError


@dataclass(frozen=True)
class RunRequest:
    """What ``stb run`` was asked; each field is an option of that command."""

    agent: str
    dataset: str
    model: str | None = None
    tools: str = GIVEN
    embedding: str = ""
    limit: int | None = None
    task_ids: str | None = None
    trials: int = 1
    max_connections: int = 16
    server: str = ""
    token: str = ""
    mode: str | None = None
    snapshot: str = ""
    episodes: bool = False
    name: str | None = None
    seed: int | None = None
    temperature: float | None = None
    max_completion_tokens: int | None = None
    max_steps: int | None = None
    max_model_calls: int | None = None
    max_tool_calls: int | None = None
    max_tokens: int | None = None
    max_seconds: float | None = None
    max_trial_cost: float | None = None
    max_cost: float | None = None
    max_observation: int = 1024
    locked: Path | None = None
    fail_fast: bool = False
    dry_run: bool = False
    agent_option: tuple[str, ...] = ()

    def conduct(self, agent: Agent) -> Conduct:
        """How the trials are to be done: the agent's own limits but for those that are given."""
        given = Budget(
            max_steps=self.max_steps,
            max_model_calls=self.max_model_calls,
            max_tool_calls=self.max_tool_calls,
            max_tokens=self.max_tokens,
            max_seconds=self.max_seconds,
            max_cost_usd=self.max_trial_cost,
        )
        return Conduct(
            sampling=Sampling(self.temperature, self.max_completion_tokens, self.seed),
            budget=agent.budget.with_limits(given),
            max_observation=self.max_observation,
            connections=self.max_connections,
            fail_fast=self.fail_fast,
            episodes=self.episodes,
        )

    @property
    def options(self) -> dict[str, str]:
        """The agent's own options.

        Raises:
            UsageError: one is not NAME=VALUE.
        """
        found: dict[str, str] = {}
        for text in self.agent_option:
            name, separator, value = text.partition("=")
            if not separator or not name:
                raise UsageError(f"{text!r} is no option of an agent.", hint="Write -o NAME=VALUE.")
            found[name.replace("-", "_")] = value
        return found

    @property
    def ids(self) -> list[str]:
        """The query ids that were named."""
        return [part for part in re.split(r"[,\s]+", self.task_ids or "") if part]
