"""``--max-cost``: what a run may cost, over all its sessions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from stb_agents.environment import RunStopped
from stb_core.errors import ModelError
from stb_core.llm import Model, Reply, Request
from stb_core.usage import Price, Usage

if TYPE_CHECKING:
    from stb_core.store import Store


class CostLimit:
    """The most that a run may cost, in USD, and what it has cost so far.

    Before a call the most that it can cost is reserved: its prompt at one token per byte, since no token is
    shorter, and as many completion tokens as the request allows. Where the request sets no limit, the
    longest completion so far is taken instead, and the run may exceed its limit by the error of that guess.
    """

    def __init__(self, limit_usd: float, price: Price, spent_usd: float = 0.0) -> None:
        self._limit_usd = limit_usd
        self._price = price
        self.spent_usd = spent_usd
        self._reserved_usd = 0.0
        self._n_calls = 0
        self._call_ended = asyncio.Condition()
        self._longest_completion = 0
        self._closed = ""
        """Why no further call is made, not even one that is cheap enough; "" while calls are made."""

    async def complete(self, model: Model, request: Request) -> Reply:
        """Ask the model, if what is left is enough.

        Raises:
            RunStopped: the call could exceed the limit.
            ModelError: from the model.
        """
        most_usd = self._price.cost_usd(
            len(request.model_dump_json().encode()), request.max_tokens or self._longest_completion
        )
        await self._reserve(most_usd)
        try:
            reply = await model.complete(request)
            self._add_cost(reply.usage)
            self._longest_completion = max(self._longest_completion, reply.usage.completion_tokens)
        except ModelError as problem:
            self._add_cost(problem.usage)
            raise
        finally:
            self._n_calls -= 1
            self._reserved_usd = self._reserved_usd - most_usd if self._n_calls else 0.0
            async with self._call_ended:
                self._call_ended.notify_all()
        return reply

    def _add_cost(self, usage: Usage | None) -> None:
        self.spent_usd += (usage and usage.cost_usd) or 0.0

    async def _reserve(self, most_usd: float) -> None:
        """Wait until enough is left: the calls that are being made may turn out cheaper than reserved."""
        async with self._call_ended:
            while self.spent_usd + self._reserved_usd + most_usd > self._limit_usd:
                if not self._n_calls:
                    self._closed = (
                        f"${self.spent_usd:.4f} of the ${self._limit_usd:g} that --max-cost allows are spent, "
                        "and the next call could exceed it."
                    )
                    self._call_ended.notify_all()
                if self._closed:
                    raise RunStopped(self._closed)
                await self._call_ended.wait()
            if self._closed:  # a trial that begins now would be stopped half-way, and its cost be lost
                raise RunStopped(self._closed)
            self._reserved_usd += most_usd
            self._n_calls += 1


class CostLimitedModel:
    """A model that is asked only while the limit of the run allows it."""

    def __init__(self, model: Model, limit: CostLimit) -> None:
        self._model = model
        self._limit = limit

    @property
    def name(self) -> str:
        """``PROVIDER/MODEL``."""
        return self._model.name

    async def complete(self, request: Request) -> Reply:
        """See ``Model``; raises RunStopped when the limit is reached."""
        return await self._limit.complete(self._model, request)


async def limit_cost(
    model: Model, limit_usd: float, price: Price, store: Store, run: str
) -> CostLimitedModel:
    """The model, with what earlier sessions of the run have spent counted against the limit.

    Raises:
        StoreError: the journal of the run cannot be read.
    """
    spent_usd = await read_spent_usd(store, run)
    return CostLimitedModel(model, CostLimit(limit_usd, price, spent_usd))


async def read_spent_usd(store: Store, run: str) -> float:
    """What the replies of a run have cost so far, as far as their prices are known.

    Raises:
        StoreError: the journal of the run cannot be read.
    """
    spent_usd = 0.0
    async for text in store.runs.journalled_replies(run):
        spent_usd += Reply.model_validate_json(text).usage.cost_usd or 0.0
    return spent_usd
