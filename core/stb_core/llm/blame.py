"""Whose fault a refused request is: the endpoint's, which accepts no such request, or the conversation's.

A refusal that every conversation would get says nothing about an agent: the server has no tool-call parser, the
model does not know a sampling setting, or it has no function calling. A refusal that only some conversations
get is a result of those conversations. ``blame`` decides this for agents, for the model calls of episodes,
for judges and for simulators.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from stb_core.errors import ModelError, ModelUnavailableError, RefusalReason, RequestRefusedError
from stb_core.llm.protocol import Model, Reply, Request
from stb_core.values import StopReason

REFUSED = (StopReason.CONTEXT_EXCEEDED, StopReason.CONTENT_FILTER, StopReason.REQUEST_REFUSED)
"""Stop reasons of a trial whose request was refused while those of others were not. It counts as unsolved."""

_WITHOUT_ANSWER = frozenset(
    {StopReason.NO_FINISH, StopReason.GAVE_UP, StopReason.AGENT_ERROR, StopReason.EXPIRED}
)
_WORDS = frozenset({"auto", "none", "required"})
_ANTHROPIC_WORDS = {"auto": "auto", "none": "none", "any": "required"}


def shape_of(request: Request) -> str:
    """What an endpoint must support to accept a request, as words.

    They say whether it asks for chat or text, with functions (and which tool choice), with a schema, or with stop
    texts. Model, endpoint and sampling are the same in the whole run.
    """
    return _shape(
        "chat" if request.prompt is None else "text",
        functions=bool(request.functions),
        choice=request.tool_choice,
        schema=request.response_schema is not None,
        stop=bool(request.stop),
    )


def shape_of_body(body: Mapping[str, Any], kind: str) -> str:
    """As ``shape_of``, of a request that a client has written.

    Args:
        body: of the request, in the format of OpenAI's or Anthropic's API.
        kind: a word for the API: chat, text, responses, messages or embeddings.
    """
    text = body.get("text")
    form = body.get("response_format") or (text.get("format") if isinstance(text, Mapping) else None)
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, Mapping):
        choice = _ANTHROPIC_WORDS.get(str(choice.get("type")), "named")
    return _shape(
        kind,
        functions=bool(body.get("tools") or body.get("functions")),
        choice=choice,
        schema=isinstance(form, Mapping) and form.get("type") in {"json_schema", "json_object"},
        stop=bool(body.get("stop") or body.get("stop_sequences")),
    )


def _shape(kind: str, *, functions: bool, choice: Any, schema: bool, stop: bool) -> str:
    is_word = isinstance(choice, str) and choice in _WORDS
    parts = {
        kind: True,
        f"functions:{choice if is_word else 'named'}": functions,
        "schema": schema,
        "stop": stop,
    }
    return " ".join(part for part, is_used in parts.items() if is_used)


@dataclass(frozen=True)
class RefusedRequest:
    """A request that the model's endpoint refused: why, in its words, and of what shape it was.

    ``is_first`` says that the model has answered nothing in this trial.
    """

    message: str
    reason: RefusalReason
    shape: str
    is_first: bool = True


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
            if was_answered(problem):
                self._accepted.add(shape_of(request))
            raise
        self._accepted.add(shape_of(request))
        return reply


def was_answered(problem: ModelError) -> bool:
    """Whether the model has said something all the same, though nothing that could be used.

    A reply that a filter blocked says nothing.
    """
    is_refusal = isinstance(problem, RequestRefusedError)
    return not is_refusal and bool(problem.usage and problem.usage.model_calls)


async def stop_after_refusal(
    stop: StopReason, refused: RefusedRequest, accepted: AcceptedShapes
) -> StopReason:
    """How a trial ends whose last request to the model was refused.

    It ends with the refusal if it ended without an answer, or if the endpoint is to blame and the model has
    answered nothing in this trial. Otherwise it ends as the agent ended it.

    Args:
        stop: how the agent ended.
        refused: the last request.
        accepted: shapes that the endpoint has accepted in the run.

    Raises:
        StoreError: as ``AcceptedShapes.in_run``.
    """
    blamed = await blame(refused, accepted)
    had_no_reply = blamed is StopReason.INFRASTRUCTURE and refused.is_first
    return blamed if had_no_reply or stop in _WITHOUT_ANSWER else stop


class BlamingModel(ShapeRecordingModel):
    """A model whose refusals are those of single requests: if the endpoint is to blame, it is unavailable.

    Args:
        model: that is asked.
        accepted: shapes that its endpoint has accepted.
    """

    async def complete(self, request: Request) -> Reply:
        """See ``Model``.

        Raises:
            ModelUnavailableError: also if the endpoint has accepted no request of this shape.
        """
        try:
            return await super().complete(request)
        except RequestRefusedError as problem:
            refused = RefusedRequest(problem.message, problem.reason, shape_of(request))
            if await blame(refused, self._accepted) is StopReason.INFRASTRUCTURE:
                hint = "It has accepted no request of this kind: check how it is set up."
                raise ModelUnavailableError(problem.message, hint=hint, usage=problem.usage) from problem
            raise


async def blame(refused: RefusedRequest, accepted: AcceptedShapes) -> StopReason:
    """Whose fault a refusal is, as the stop reason of a trial that ends with it.

    A request that is too long, or blocked by a filter, is the conversation's fault if the endpoint has accepted a
    request of that shape in this run. Any other refusal is the conversation's fault only if the endpoint has
    accepted one in this session, because it may have been set up differently since the last. Otherwise it
    is ``infrastructure``: the endpoint is to blame.

    Raises:
        StoreError: as ``AcceptedShapes.in_run``.
    """
    if reason := refused.reason:
        return StopReason(reason) if await accepted.in_run(refused.shape) else StopReason.INFRASTRUCTURE
    return StopReason.REQUEST_REFUSED if accepted.in_session(refused.shape) else StopReason.INFRASTRUCTURE
