"""The budget of a trial: its limits, what is used of them, and which one ended the trial."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from stb_core.usage import Usage
from stb_core.values import StopReason


class BudgetSpent(Exception):  # noqa: N818 - an outcome, not an error
    """A trial may not continue; ``reason`` says which limit is reached."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True)
class Budget:
    """The limits of one trial; None means no limit."""

    max_steps: int | None = None
    """Turns of the agent's loop, or nodes that a search expands."""
    max_model_calls: int | None = None
    max_tool_calls: int | None = None
    max_tokens: int | None = None
    """Prompt and completion tokens together, over all calls."""
    max_seconds: float | None = None
    max_cost_usd: float | None = None
    max_repeats: int | None = None
    """Calls with the same function and arguments that fail."""

    def settings(self) -> dict[str, Any]:
        """The limits that are set."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def with_limits(self, other: Budget) -> Budget:
        """This budget, with the limits that ``other`` sets in place of its own."""
        return replace(self, **other.settings())


UNLIMITED = Budget()


class Meter:
    """What one trial has used of its budget; each count is checked before it grows."""

    def __init__(self, budget: Budget, clock: Callable[[], float] = time.monotonic) -> None:
        self._budget = budget
        self._clock = clock
        self._start = clock()
        self.steps = 0
        self.tool_calls = 0
        self.usage = Usage()
        self._failed: Counter[tuple[str, str]] = Counter()
        self.spent: StopReason | None = None
        """The limit that was reached first; kept also where the agent catches ``BudgetSpent``."""

    @property
    def seconds(self) -> float:
        """Seconds since the trial began."""
        return self._clock() - self._start

    @property
    def remaining(self) -> dict[str, Any]:
        """Name of a limit → what is left of it: at least one call or token. Without steps and cost."""
        budget, used = self._budget, self.usage
        left = {
            "max_tool_calls": budget.max_tool_calls and max(1, budget.max_tool_calls - self.tool_calls),
            "max_model_calls": budget.max_model_calls and max(1, budget.max_model_calls - used.model_calls),
            "max_tokens": budget.max_tokens and max(1, budget.max_tokens - used.total_tokens),
            "max_seconds": self.remaining_s,
        }
        return {name: limit for name, limit in left.items() if limit}

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the time is up; None without a limit."""
        limit = self._budget.max_seconds
        return None if limit is None else max(0.0, limit - self.seconds)

    def begin_step(self) -> None:
        """Count a step.

        Raises:
            BudgetSpent: it would be one too many, or the time is up.
        """
        self.check_time()
        self._check(self.steps, self._budget.max_steps, StopReason.MAX_STEPS)
        self.steps += 1

    def begin_model_call(self) -> None:
        """Check that another model call may be made; ``add_usage`` counts it.

        Raises:
            BudgetSpent: calls, tokens, money or time are used up.
        """
        self.check_time()
        self._check(self.usage.model_calls, self._budget.max_model_calls, StopReason.MAX_MODEL_CALLS)
        self._check(self.usage.total_tokens, self._budget.max_tokens, StopReason.MAX_TOKENS)
        self._check(self.usage.cost_usd or 0.0, self._budget.max_cost_usd, StopReason.MAX_COST)

    def begin_tool_call(self) -> None:
        """Count a tool call.

        Raises:
            BudgetSpent: it would be one too many, or the time is up.
        """
        self.check_time()
        self._check(self.tool_calls, self._budget.max_tool_calls, StopReason.MAX_TOOL_CALLS)
        self.tool_calls += 1

    def count_failed_call(self, function: str, arguments: str) -> None:
        """Count a call that failed.

        Raises:
            BudgetSpent: this very call has failed too often.
        """
        self._failed[function, arguments] += 1
        limit = self._budget.max_repeats
        if limit is not None and self._failed[function, arguments] >= limit:
            raise self.over(StopReason.MAX_REPEATS)

    def add_usage(self, usage: Usage) -> None:
        """Add what a model call consumed."""
        self.usage += usage

    def check_time(self) -> None:
        """Raises BudgetSpent when the time is up."""
        if self.remaining_s == 0.0:
            raise self.over(StopReason.MAX_SECONDS)

    def check_open(self) -> None:
        """Raises BudgetSpent when the time is up, or any limit was reached before."""
        self.check_time()
        if self.spent:
            raise BudgetSpent(self.spent)

    def over(self, reason: StopReason) -> BudgetSpent:
        """Record that a limit is reached; returns the exception, for the caller to raise."""
        self.spent = self.spent or reason
        return BudgetSpent(reason)

    def _check(self, used: float, limit: float | None, reason: StopReason) -> None:
        if limit is not None and used >= limit:
            raise self.over(reason)


class RunStopped(Exception):  # noqa: N818 - a decision, not an error
    """The whole run stops; the message says why. Finished trials are kept."""
