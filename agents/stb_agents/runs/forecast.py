"""What a run would do and cost, estimated from an earlier run of the same agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stb_core.store import Run
from stb_core.usage import Price, Usage
from stb_core.values import StopReason

if TYPE_CHECKING:
    from stb_core.store import Store


@dataclass(frozen=True)
class Forecast:
    """An estimate of a run before it begins; None stands for what is not known.

    The estimates are for the trials that are left, at the mean of the run ``based_on``.
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
        """The estimate as a row of the JSON document."""
        return dict(vars(self))


async def estimate_run(
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
    """Estimate from the latest run of the same agent and model, preferably on the same dataset.

    Args:
        store: where earlier runs are.
        run: the id that the run would have.
        trials: of the whole run.
        trials_left: without a result.
        agent: name of the agent.
        model: ``PROVIDER/MODEL``; None for an agent without one.
        dataset: name of the dataset.
        price: of the model's tokens today; None takes what the earlier run cost.

    Raises:
        StoreError: the store cannot be read.
    """
    for past in await _similar_runs(store, agent, model, dataset):
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
    """USD at today's price; without one, at what the past run cost."""
    if price is not None:
        return share * price.cost_usd(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
    return None if usage.cost_usd is None else share * usage.cost_usd


async def _similar_runs(store: Store, agent: str, model: str | None, dataset: str) -> list[Run]:
    runs = [run for run in await store.runs.all() if (run.agent, run.model) == (agent, model)]
    latest_first = runs[::-1]
    return sorted(latest_first, key=lambda run: run.dataset != dataset)
