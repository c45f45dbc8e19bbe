"""Asks a model for one answer of an API, until an answer can be served or no repeat is left.

Replies are counted by kind: strict, each repair, each fault. A reply with a fault is never served;
``stb_core.llm.repeats`` says how often and how a model is then asked again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import orjson

from stb_core.errors import ModelError, UnreadableReplyError
from stb_core.llm import Model, Repeats, Reply, Request, Schema, repeat_request
from stb_core.usage import Usage
from stb_core.values import JsonObject, Message
from stb_server.simulators.answer_forms import FREE_FORM, Answered, asked_form, usable_answer
from stb_server.simulators.json_repair import Fault

STRICT = "strict"


@dataclass(frozen=True)
class SimulatorSampling:
    """How a model is asked."""

    temperature: float | None = 0.0
    """0: the likeliest answer; None: the endpoint's own."""
    max_tokens: int = 2048
    """Longest answer; one that is cut there cannot be used."""
    seed: int = 0
    """Seed of the first request; each repeat has another."""


DEFAULT_SAMPLING = SimulatorSampling()


@dataclass(frozen=True)
class ModelAnswer:
    """What a model answered in place of an API, and the tokens used."""

    error: str
    response: Any
    prompt_hash: str
    seed: int
    usage: Usage


class ReplyCounts:
    """Counts replies by kind, and the tokens used, for reports and metrics."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.usage = Usage()

    def find(self, text: str, schema: Schema) -> JsonObject | None:
        """The answer in a reply, for ``OpenAIModel``; None if it cannot be used."""
        outcome = usable_answer(text, schema)
        if isinstance(outcome, Fault):
            self.kinds[outcome.value] += 1
            return None
        self.kinds.update([repair.value for repair in outcome.repairs] or [STRICT])
        return outcome.body


async def ask(
    model: Model,
    messages: tuple[Message, ...],
    *,
    counts: ReplyCounts,
    sampling: SimulatorSampling,
    shape: Schema | None,
    structured: bool,
) -> ModelAnswer:
    """Ask until there is an answer.

    Args:
        model: is asked; when ``structured``, it must read replies by ``counts.find``.
        messages: the prompt.
        counts: replies are counted here.
        sampling: how to ask.
        shape: of the response; None when it is free.
        structured: ask for structured output, which the model repeats by itself; else the reply is
            free text and read here.

    Raises:
        UnreadableReplyError: no reply could be used.
        ModelUnavailableError: the model cannot be reached.
        RequestRefusedError: the model does not accept the prompt.
    """
    form = asked_form(shape) if structured else FREE_FORM
    first = Request(
        messages=messages,
        temperature=sampling.temperature,
        max_tokens=sampling.max_tokens,
        seed=sampling.seed,
        response_schema=form if structured else None,
        schema_name="api_answer",
    )
    usage = Usage()
    reply = Reply()
    repeats = Repeats(first)
    while (request := repeats.request) is not None:
        try:
            reply = await model.complete(request)
        except ModelError as problem:
            problem.add_usage(usage)
            counts.usage += problem.usage or Usage()
            raise
        usage += reply.usage
        text = reply.content or ""
        if not structured:
            counts.find(text, form)
        outcome = usable_answer(text, form)
        if isinstance(outcome, Answered):
            counts.usage += usage
            asked = repeat_request(request, reply.repeats)
            return ModelAnswer(outcome.error, outcome.response, hash_of(asked), asked.seed or 0, usage)
        repeats.count_unusable(reply)
    counts.usage += usage
    raise UnreadableReplyError(
        f"{model.name} gave {repeats.count} replies that cannot be used.",
        reply=reply.content or "",
        usage=usage,
    )


def hash_of(request: Request) -> str:
    """SHA-256 of the whole request: messages, schema, seed and sampling."""
    asked = orjson.dumps(request.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(asked).hexdigest()
