"""The money of a whole run, and what ends a run before its time."""

from __future__ import annotations

import asyncio

from stb_core.models import Model, Reply, Request


class RunStopped(Exception):  # noqa: N818 - a decision, not an error
    """No further trial may begin or go on; the message says why. What is finished is kept."""


class Purse:
    """A limit on what a run may cost, over all its sessions.

    Before a call there must be room for it and for all that are under way, each at the price of the
    dearest so far; the first call goes alone, so that there is such a price.
    """

    def __init__(self, limit_usd: float, spent_usd: float = 0.0) -> None:
        self._limit = limit_usd
        self.spent = spent_usd
        self._dearest: float | None = None
        self._under_way = 0
        self._first = asyncio.Lock()

    async def pay_for(self, model: Model, request: Request) -> Reply:
        """Ask the model, if there is money for it.

        Raises:
            RunStopped: there is none left.
            ModelError: from the model.
        """
        if self._dearest is None:
            async with self._first:
                if self._dearest is None:
                    return await self._pay(model, request)
        return await self._pay(model, request)

    async def _pay(self, model: Model, request: Request) -> Reply:
        expected = self._dearest or 0.0
        if self.spent >= self._limit or self.spent + (self._under_way + 1) * expected > self._limit:
            raise RunStopped(
                f"${self.spent:.4f} of the ${self._limit:g} that --max-cost allows are spent, "
                "and the next call could exceed it."
            )
        self._under_way += 1
        try:
            reply = await model.complete(request)
        finally:
            self._under_way -= 1
        cost = reply.usage.cost_usd or 0.0
        self.spent += cost
        self._dearest = max(self._dearest or 0.0, cost)
        return reply


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
