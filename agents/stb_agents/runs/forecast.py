"""What a run would do and cost, judged by what the same agent did before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stb_core.store.runs import Run
from stb_core.usage import Price, Usage
from stb_core.values.trajectories import StopReason

if TYPE_CHECKING:
    from stb_core.store import Store


@dataclass(frozen=True)
class Forecast:
    """A run that was not begun; what is None is not known.

    The estimates are for the trials that are left, at the mean of the run that they are based on.
    """

    run: str
    trials: int
    trials_left: int
    based_on: str | None = None
    model_calls: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None

    def row(self) -> dict[str, Any]:
        """As a row of the JSON document."""
        return dict(vars(self))


async def forecast(
    store: Store,
    run: str,
    trials: int,
    trials_left: int,
    *,
    agent: str,
    model: str | None,
    dataset: str,
    price: Price | None,
) -> Forecast:
    """Look for the latest run of the same agent and model, one on the same dataset first."""
    for past in await _alike(store, agent, model, dataset):
        usage, counted = Usage(), 0
        async for trajectory in store.runs.trajectories(past.run):
            if trajectory.stop is not StopReason.INFRASTRUCTURE:
                usage, counted = usage + trajectory.usage, counted + 1
        if not counted:
            continue
        share = trials_left / counted
        prompt, completion = round(usage.prompt_tokens * share), round(usage.completion_tokens * share)
        return Forecast(
            run,
            trials,
            trials_left,
            based_on=past.run,
            model_calls=round(usage.model_calls * share),
            prompt_tokens=prompt,
            completion_tokens=completion,
            cost_usd=_cost(usage, share, price),
        )
    return Forecast(run, trials, trials_left, cost_usd=0.0 if model is None else None)


def _cost(usage: Usage, share: float, price: Price | None) -> float | None:
    """At today's price, or else at what the past run cost."""
    if price is not None:
        return share * price.cost_usd(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
    return None if usage.cost_usd is None else share * usage.cost_usd


async def _alike(store: Store, agent: str, model: str | None, dataset: str) -> list[Run]:
    runs = [run for run in await store.runs.all() if (run.agent, run.model) == (agent, model)]
    latest_first = runs[::-1]
    return sorted(latest_first, key=lambda run: run.dataset != dataset)
