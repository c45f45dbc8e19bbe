"""Whose fault a refused request is: the endpoint's, which accepts no such request, or the trial's.

A refusal that every trial would get says nothing about the agent: the server has no tool-call parser, the
model does not know a sampling setting, or it has no function calling. A refusal that only some conversations
get is a result of those conversations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from stb_core.errors import ModelError, RequestRefusedError
from stb_core.llm import Model, Reply, Request
from stb_core.values import StopReason

REFUSED = (StopReason.CONTEXT_EXCEEDED, StopReason.CONTENT_FILTER, StopReason.REQUEST_REFUSED)
"""Stop reasons of a trial whose request was refused while those of others were not. It counts as unsolved."""

_WORDS = frozenset({"auto", "none", "required"})


def shape_of(request: Request) -> str:
    """What an endpoint must support to accept a request, as words.

    They say whether it asks for chat or text, with functions (and which tool choice), with a schema, or with stop
    texts. Model, endpoint and sampling are the same in the whole run.
    """
    choice = request.tool_choice if request.tool_choice in _WORDS else "named"
    parts = {
        "chat" if request.prompt is None else "text": True,
        f"functions:{choice}": bool(request.functions),
        "schema": request.response_schema is not None,
        "stop": bool(request.stop),
    }
    return " ".join(part for part, is_used in parts.items() if is_used)


@dataclass(frozen=True)
class RefusedRequest:
    """A request that the model's endpoint refused.

    ``is_first`` says that the model has answered nothing in this trial.
    """

    problem: RequestRefusedError
    shape: str
    is_first: bool


class AcceptedShapes:
    """The shapes of request that the model's endpoint has accepted in a run.

    Args:
        earlier: reads those of the run's earlier sessions; called once, and only if it matters.
    """

    def __init__(self, earlier: Callable[[], Awaitable[Collection[str]]] | None = None) -> None:
        self._now: set[str] = set()
        self._before: set[str] = set()
        self._earlier = earlier
        self._reading = asyncio.Lock()

    def add(self, shape: str) -> None:
        """Record that the endpoint has accepted a request of that shape."""
        self._now.add(shape)

    def in_session(self, shape: str) -> bool:
        """Whether it has accepted one in this session."""
        return shape in self._now

    async def in_run(self, shape: str) -> bool:
        """Whether it has accepted one in the whole run.

        Raises:
            StoreError: what earlier sessions did cannot be read.
        """
        if shape in self._now:
            return True
        async with self._reading:
            if self._earlier:
                self._before.update(await self._earlier())
                self._earlier = None
        return shape in self._before


class ShapeRecordingModel:
    """A model that records the shape of each request that its endpoint accepts."""

    def __init__(self, model: Model, accepted: AcceptedShapes) -> None:
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
            if problem.usage and problem.usage.model_calls:  # there were replies, though unreadable
                self._accepted.add(shape_of(request))
            raise
        self._accepted.add(shape_of(request))
        return reply


async def blame(refused: RefusedRequest, accepted: AcceptedShapes) -> StopReason:
    """The stop reason of a trial that ended with a refusal.

    A request that is too long, or blocked by a filter, is the trial's fault if the endpoint has accepted a request
    of that shape in this run. Any other refusal is the trial's fault only if the endpoint has accepted one in
    this session, because it may have been set up differently since the last. Otherwise the trial stopped
    for ``infrastructure``.

    Raises:
        StoreError: as ``AcceptedShapes.in_run``.
    """
    if reason := refused.problem.reason:
        return StopReason(reason) if await accepted.in_run(refused.shape) else StopReason.INFRASTRUCTURE
    return StopReason.REQUEST_REFUSED if accepted.in_session(refused.shape) else StopReason.INFRASTRUCTURE
