"""``--max-cost`` of a run: the limit counts what all its sessions have spent, and stops the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stb_agents.environment import RunStopped
from stb_core.llm import CostLimit, CostLimitedModel, CostLimitReached, Model, Reply, Request
from stb_core.usage import Price

if TYPE_CHECKING:
    from stb_core.store import Store


class RunCostLimitedModel(CostLimitedModel):
    """A model that is asked only while the limit of the run allows it."""

    async def complete(self, request: Request) -> Reply:
        """See ``CostLimitedModel``.

        Raises:
            RunStopped: the call could exceed the limit.
        """
        try:
            return await super().complete(request)
        except CostLimitReached as reached:
            raise RunStopped(str(reached)) from None


async def limit_cost(
    model: Model, limit_usd: float, price: Price, store: Store, run: str
) -> RunCostLimitedModel:
    """The model, with what earlier sessions of the run have spent counted against the limit.

    Raises:
        StoreError: the journal of the run cannot be read.
    """
    spent_usd = await read_spent_usd(store, run)
    return RunCostLimitedModel(model, CostLimit(limit_usd, spent_usd), price)


async def read_spent_usd(store: Store, run: str) -> float:
    """What the replies of a run have cost so far, as far as their prices are known.

    Raises:
        StoreError: the journal of the run cannot be read.
    """
    spent_usd = 0.0
    async for text in store.runs.journalled_replies(run):
        spent_usd += Reply.model_validate_json(text).usage.cost_usd or 0.0
    return spent_usd
