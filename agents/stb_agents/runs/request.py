"""What ``stb run`` is asked to do, as one frozen value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from stb_agents.environment import Agent, Budget, Sampling
from stb_agents.runs.runner import TrialSettings
from stb_core.errors import UsageError
from stb_core.values.observations import ObservationForm, ObservationStyle

GIVEN = "given"
AUTO = "auto"
"""The value of ``text_calls`` for which the model is asked."""
_ANSWER_S = 120.0
"""Seconds for which a run waits for the answer to a call, at least."""
_RETRIEVED = re.compile(r"retrieved:([1-9]\d{0,3})")


@dataclass(frozen=True)
class RunRequest:
    """What ``stb run`` is asked to do; each field is an option of that command."""

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
    model_timeout: float | None = None
    max_steps: int | None = None
    max_model_calls: int | None = None
    max_tool_calls: int | None = None
    max_tokens: int | None = None
    max_seconds: float | None = None
    max_trial_cost: float | None = None
    max_repeats: int | None = None
    text_calls: str = "off"
    max_cost: float | None = None
    max_observation: int = 1024
    observation: ObservationForm = "plain"
    locked: Path | None = None
    fail_fast: bool = False
    dry_run: bool = False
    pause: bool = False
    drain: bool = False
    fresh: bool = False
    agent_version: str = ""
    agent_option: tuple[str, ...] = ()

    @property
    def limits_cost(self) -> bool:
        """Whether the cost of the run, or of a trial, is limited."""
        return self.max_cost is not None or self.max_trial_cost is not None

    def trial_settings(self, agent: Agent) -> TrialSettings:
        """How the trials are done: with the agent's own limits where the request names no other."""
        limits = Budget(
            max_steps=self.max_steps,
            max_model_calls=self.max_model_calls,
            max_tool_calls=self.max_tool_calls,
            max_tokens=self.max_tokens,
            max_seconds=self.max_seconds,
            max_cost_usd=self.max_trial_cost,
            max_repeats=self.max_repeats,
        )
        return TrialSettings(
            sampling=Sampling(
                self.temperature, self.max_completion_tokens, self.seed, text_calls=self.text_calls == "on"
            ),
            budget=agent.budget.with_limits(limits),
            observations=ObservationStyle(self.max_observation, self.observation),
            connections=self.max_connections,
            fail_fast=self.fail_fast,
            episodes=self.episodes,
            # As long as a simulator with this timeout tries.
            answer_timeout_s=None if self.model_timeout is None else max(_ANSWER_S, 1.5 * self.model_timeout),
        )

    @property
    def options(self) -> dict[str, str]:
        """The agent's own options.

        Raises:
            UsageError: one is not NAME=VALUE.
        """
        options: dict[str, str] = {}
        for text in self.agent_option:
            name, separator, value = text.partition("=")
            if not separator or not name:
                raise UsageError(f"{text!r} is not an agent option.", hint="Write -o NAME=VALUE.")
            options[name.replace("-", "_")] = value
        return options

    @property
    def ids(self) -> list[str]:
        """The ids of the queries that were named; empty for all."""
        return [part for part in re.split(r"[,\s]+", self.task_ids or "") if part]


def number_to_retrieve(tools: str) -> int | None:
    """K of ``retrieved:K``; None for ``given``.

    Raises:
        UsageError: it is neither.
    """
    if tools == GIVEN:
        return None
    match = _RETRIEVED.fullmatch(tools)
    if not match:
        raise UsageError(
            f"{tools!r} does not say which tools a query offers.",
            hint=f"Write {GIVEN}, or retrieved:K with a number, such as retrieved:10.",
        )
    return int(match[1])
