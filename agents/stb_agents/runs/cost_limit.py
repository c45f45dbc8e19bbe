"""The money of a whole run, and what ends a run before its time."""

from __future__ import annotations

import asyncio

from stb_agents.environment.budget import RunStopped
from stb_core.errors import ModelError
from stb_core.llm.protocol import Model, Reply, Request
from stb_core.usage import Price, Usage


class Purse:
    """A limit on what a run may cost, over all its sessions.

    Before a call the most that it can cost is set aside: its prompt at a token a byte, for no token is
    shorter, and as many completion tokens as the request allows. Where it sets no limit, the longest
    completion so far stands for it, and the run may exceed its limit by what that was wrong.
    """

    def __init__(self, limit_usd: float, price: Price, spent_usd: float = 0.0) -> None:
        self._limit = limit_usd
        self._price = price
        self.spent = spent_usd
        self._set_aside = 0.0
        self._under_way = 0
        self._settled = asyncio.Condition()
        self._longest_completion = 0
        self._closed = ""
        """Why nothing is paid any more: then not even a call that would be cheap enough."""

    async def pay_for(self, model: Model, request: Request) -> Reply:
        """Ask the model, if there is money for it.

        Raises:
            RunStopped: there is not enough left.
            ModelError: from the model.
        """
        most = self._price.cost_usd(
            len(request.model_dump_json().encode()), request.max_tokens or self._longest_completion
        )
        await self._set_money_aside(most)
        try:
            reply = await model.complete(request)
            self._pay(reply.usage)
            self._longest_completion = max(self._longest_completion, reply.usage.completion_tokens)
        except ModelError as problem:
            self._pay(problem.usage)
            raise
        finally:
            self._under_way -= 1
            self._set_aside = self._set_aside - most if self._under_way else 0.0
            async with self._settled:
                self._settled.notify_all()
        return reply

    def _pay(self, usage: Usage | None) -> None:
        self.spent += (usage and usage.cost_usd) or 0.0

    async def _set_money_aside(self, most: float) -> None:
        """Wait until the money is there; calls under way may turn out cheaper than what is set aside."""
        async with self._settled:
            while self.spent + self._set_aside + most > self._limit:
                if not self._under_way:
                    self._closed = (
                        f"${self.spent:.4f} of the ${self._limit:g} that --max-cost allows are spent, "
                        "and the next call could exceed it."
                    )
                    self._settled.notify_all()
                if self._closed:
                    raise RunStopped(self._closed)
                await self._settled.wait()
            if self._closed:  # what began now would be stopped half-way, and be lost
                raise RunStopped(self._closed)
            self._set_aside += most
            self._under_way += 1


class PaidModel:
    """A model whose calls are paid from a purse."""

    def __init__(self, model: Model, purse: Purse) -> None:
        self._model = model
        self._purse = purse

    @property
    def name(self) -> str:
        """``PROVIDER/MODEL``."""
        return self._model.name

    async def complete(self, request: Request) -> Reply:
        """See ``Model``; raises RunStopped when the purse is empty."""
        return await self._purse.pay_for(self._model, request)
