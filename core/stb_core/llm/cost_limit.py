"""``--max-cost``: a limit on what model calls may cost, for a run of an agent or for a command that judges."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from stb_core.errors import ModelError
from stb_core.llm.protocol import Model, Reply, Request
from stb_core.llm.repeats import MAX_REQUESTS
from stb_core.usage import Price, Usage


class CostLimitReached(Exception):  # noqa: N818 - a decision of the user, not an error
    """The next work could cost more than is left. The message says so; what was paid for is kept."""


class Spending:
    """What one piece of work has cost so far, in USD."""

    def __init__(self) -> None:
        self.usd = 0.0

    def add(self, usage: Usage | None) -> None:
        """Add the cost of a call, as far as it is known."""
        self.usd += (usage and usage.cost_usd) or 0.0


class CostLimit:
    """The most that may be spent, in USD, and what has been spent so far.

    Work begins only after the most that it can cost is reserved. So the limit holds, however many pieces
    of work are under way.
    """

    def __init__(self, limit_usd: float, spent_usd: float = 0.0) -> None:
        self._limit_usd = limit_usd
        self.spent_usd = spent_usd
        self._reserved_usd = 0.0
        """The most that the work under way can cost."""
        self._n_under_way = 0
        self._turn = asyncio.Lock()
        """Held by the work that looks whether it may begin."""
        self._changed = asyncio.Event()
        """Set when work has ended, and then replaced."""
        self._closed = ""
        """Why no further work begins, not even work that is cheap enough; "" while work begins."""

    @asynccontextmanager
    async def reserve(self, most_usd: float) -> AsyncGenerator[Spending]:
        """Reserve the most that the block can cost; the block adds what it really costs.

        Work that is under way may turn out cheaper than reserved, so the reservation may wait for it.

        Raises:
            CostLimitReached: the block could exceed the limit.
        """
        await self._reserve(most_usd)
        spending = Spending()
        try:
            yield spending
        except ModelError as problem:
            spending.add(problem.usage)
            raise
        finally:
            self.spent_usd += spending.usd
            self._n_under_way -= 1
            self._reserved_usd = self._reserved_usd - most_usd if self._n_under_way else 0.0
            self._wake_all()  # without a wait, so that what was paid for is not lost when the caller is cancelled now

    async def _reserve(self, most_usd: float) -> None:
        while True:
            async with self._turn:
                changed = self._changed
                if self._closed:  # work that begins now would be stopped half-way, and its cost be lost
                    raise CostLimitReached(self._closed)
                if await self._has_room(most_usd):
                    self._reserved_usd += most_usd
                    self._n_under_way += 1
                    return
                if self._is_used_up(most_usd):
                    self._closed = (
                        f"${self._total_usd():.4f} of the ${self._limit_usd:g} that --max-cost allows are spent, "
                        "and the next call could exceed it."
                    )
                    self._wake_all()
                    raise CostLimitReached(self._closed)
            await self._wait_for(changed)

    def _wake_all(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _has_room(self, most_usd: float) -> bool:
        """Whether work that costs so much may begin now."""
        return self.spent_usd + self._reserved_usd + most_usd <= self._limit_usd

    def _is_used_up(self, most_usd: float) -> bool:
        """Whether there will be no room for such work, when there is none now."""
        return not self._n_under_way and self._total_usd() + most_usd > self._limit_usd

    def _total_usd(self) -> float:
        """What counts against the limit so far."""
        return self.spent_usd

    async def _wait_for(self, changed: asyncio.Event) -> None:
        """Wait until work has ended."""
        await changed.wait()


class CostLimitedModel:
    """A model that is asked only while a limit allows it.

    Args:
        model: that is asked.
        limit: on the cost of its calls.
        price: of its tokens.
    """

    def __init__(self, model: Model, limit: CostLimit, price: Price) -> None:
        self._model = model
        self._limit = limit
        self._price = price
        self._longest_completion = 0

    @property
    def name(self) -> str:
        """``PROVIDER/MODEL``."""
        return self._model.name

    async def complete(self, request: Request) -> Reply:
        """See ``Model``.

        Where the request sets no limit on its reply, the longest completion so far is taken for the longest
        possible, and the limit may be exceeded by the error of that guess.

        Raises:
            CostLimitReached: the call could exceed the limit.
        """
        most_usd = most_cost_usd(request, self._price, self._longest_completion)
        async with self._limit.reserve(most_usd) as spending:
            reply = await self._model.complete(request)
            spending.add(reply.usage)
        self._longest_completion = max(self._longest_completion, reply.usage.completion_tokens)
        return reply


def most_cost_usd(request: Request, price: Price, completion_tokens: int) -> float:
    """The most that the answer to a request can cost, in USD.

    Its prompt has one token per byte, since no token is shorter. Structured output is asked for several times
    if no reply is readable. ``completion_tokens`` is used where the request does not limit its reply.
    """
    n_requests = 1 if request.response_schema is None else MAX_REQUESTS
    prompt_tokens = len(request.model_dump_json().encode())
    return n_requests * price.cost_usd(prompt_tokens, request.max_tokens or completion_tokens)
