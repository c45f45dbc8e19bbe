"""Whose fault a refused request is: the endpoint's, which accepts no such request, or the trial's.

A refusal that every trial would meet says nothing about the agent: a server without a tool-call parser,
a sampling setting that the model does not know, a model without functions. A refusal that only some
conversations meet is a result of those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from stb_core.errors import ModelError, RequestRefusedError
from stb_core.llm.protocol import Model, Reply, Request
from stb_core.values.trajectories import StopReason

REFUSED = (StopReason.CONTEXT_EXCEEDED, StopReason.CONTENT_FILTER, StopReason.REQUEST_REFUSED)
"""How a trial ends that was refused what others were not: with a result, which is unsolved."""

_WORDS = frozenset({"auto", "none", "required"})


def shape_of(request: Request) -> str:
    """What an endpoint must support to accept a request, the same for all conversations of that kind.

    It is whether chat or text is asked for, with functions (and with which choice of them) or without, with
    a schema, with texts that end the reply. Model, endpoint and sampling are the same in the whole run.
    """
    choice = request.tool_choice if request.tool_choice in _WORDS else "named"
    parts = {
        "chat" if request.prompt is None else "text": True,
        f"functions:{choice}": bool(request.functions),
        "schema": request.response_schema is not None,
        "stop": bool(request.stop),
    }
    return " ".join(part for part, is_there in parts.items() if is_there)


@dataclass(frozen=True)
class Refused:
    """A request that the model's endpoint refused.

    ``is_first`` says that the model has answered nothing in its trial.
    """

    problem: RequestRefusedError
    shape: str
    is_first: bool


class Accepted:
    """The shapes of request that the model's endpoint has accepted in a run.

    Args:
        earlier: finds those of the run's earlier sessions; asked once, and only if it matters.
    """

    def __init__(self, earlier: Callable[[], Awaitable[Collection[str]]] | None = None) -> None:
        self._now: set[str] = set()
        self._before: set[str] = set()
        self._earlier = earlier
        self._look = asyncio.Lock()

    def add(self, shape: str) -> None:
        """The endpoint has just accepted a request of that shape."""
        self._now.add(shape)

    def now(self, shape: str) -> bool:
        """Whether it has accepted one in this session."""
        return shape in self._now

    async def ever(self, shape: str) -> bool:
        """Whether it has accepted one in the whole run.

        Raises:
            StoreError: what earlier sessions did cannot be read.
        """
        if shape in self._now:
            return True
        async with self._look:
            if self._earlier:
                self._before.update(await self._earlier())
                self._earlier = None
        return shape in self._before


class HeardModel:
    """A model whose endpoint is noted to accept what it answers."""

    def __init__(self, model: Model, accepted: Accepted) -> None:
        self._model = model
        self._accepted = accepted

    @property
    def name(self) -> str:
        """``PROVIDER/MODEL``."""
        return self._model.name

    async def complete(self, request: Request) -> Reply:
        """See ``Model``."""
        try:
            reply = await self._model.complete(request)
        except ModelError as problem:
            if problem.usage and problem.usage.model_calls:  # there were replies, though of no use
                self._accepted.add(shape_of(request))
            raise
        self._accepted.add(shape_of(request))
        return reply


async def blame(refused: Refused, accepted: Accepted) -> StopReason:
    """Why a trial stopped that ended with a refusal.

    What is too long, or blocked by a filter, is the trial's own if the endpoint has accepted a request of
    that shape in the run. Any other refusal is only if it has accepted one in this session, for an endpoint
    may have been set up anew since the last. Else it is ``infrastructure``.

    Raises:
        StoreError: as ``Accepted.ever``.
    """
    if reason := refused.problem.reason:
        return StopReason(reason) if await accepted.ever(refused.shape) else StopReason.INFRASTRUCTURE
    return StopReason.REQUEST_REFUSED if accepted.now(refused.shape) else StopReason.INFRASTRUCTURE
