"""What model calls consume, and what that costs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

_MOST_TOKENS = 1e15
"""A larger number cannot be what one call consumed."""


class Usage(BaseModel):
    """What model calls consumed; ``cost_usd`` is None where the price is not known.

    ``timed_out`` counts requests that got no reply in time. What the endpoint wrote for them is not known and
    not counted, and their prompts are estimated: with such requests the tokens are a lower bound.
    """

    model_config = ConfigDict(frozen=True)

    model_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float | None = None
    # Left out when 0, as older versions wrote it.
    timed_out: int = Field(default=0, exclude_if=lambda count: not count)

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        """The sum of both; a cost is known when either side knows one."""
        costs = [cost for cost in (self.cost_usd, other.cost_usd) if cost is not None]
        return Usage(
            model_calls=self.model_calls + other.model_calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            cost_usd=sum(costs) if costs else None,
            timed_out=self.timed_out + other.timed_out,
        )


class Price(BaseModel):
    """What a model's tokens cost, in USD per million; cached prompt tokens as others unless stated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(default=None, ge=0)

    def cost_usd(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """The price of one call; ``cached_tokens`` are among the prompt's."""
        cached = self.input if self.cached_input is None else self.cached_input
        millionths = (
            (prompt_tokens - cached_tokens) * self.input
            + cached_tokens * cached
            + completion_tokens * self.output
        )
        return millionths / 1e6


def token_count(written: object) -> int:
    """A number of tokens as an endpoint reports it: an integer, ``7.0`` or ``"7"``; 0 for anything else."""
    if isinstance(written, bool) or not isinstance(written, int | float | str):
        return 0
    try:
        number = float(written)
    except (ValueError, OverflowError):
        return 0
    return int(number) if 0 < number < _MOST_TOKENS else 0


def usage_of_call(prompt: int, completion: int, cached: int, price: Price | None) -> Usage:
    """What one call consumed; ``cached`` tokens are among the prompt's."""
    return Usage(
        model_calls=1,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        cost_usd=None if price is None else price.cost_usd(prompt, completion, cached),
    )
