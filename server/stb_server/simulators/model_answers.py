"""Asking a model for one answer of an API, until it gives one that can be served or the patience ends.

What a reply was like is counted by kind: strict, each repair, each fault. A reply with a fault is
never served; the next attempt has another seed, since an engine that is told to be deterministic
would write the same again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import orjson

from stb_core.calls import JsonObject
from stb_core.errors import UnreadableReplyError
from stb_core.models import Model, Request
from stb_core.structured import Schema, fits
from stb_core.trajectories import Message, Usage
from stb_server.simulators.repair import Fault, Reading, read_object
from stb_server.simulators.schemas import envelope

STRICT = "strict"


@dataclass(frozen=True)
class Sampling:
    """How a model is asked."""

    temperature: float | None = 0.0
    """0: the likeliest answer; None: the endpoint's own."""
    max_tokens: int = 2048
    """Longest answer; one that is cut there cannot be used."""
    seed: int = 0
    """Of the first attempt; each further one adds 1."""
    attempts: int = 2
    """How often a call is asked before the simulator gives up."""
    retry_temperature: float = 0.7
    """At least this from the second attempt on."""


DEFAULT_SAMPLING = Sampling()


@dataclass(frozen=True)
class ModelAnswer:
    """What a model answered in an API's place, and what that took."""

    error: str
    response: Any
    prompt_hash: str
    seed: int
    usage: Usage


class ReplyCounts:
    """Counts what replies were like, by kind, for the report and the metrics."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.usage = Usage()

    def find(self, text: str, schema: Schema) -> JsonObject | None:
        """The answer in a reply, for ``OpenAIModel``; None for what cannot be used."""
        outcome = usable_answer(text, schema)
        if isinstance(outcome, Fault):
            self.kinds[outcome.value] += 1
            return None
        self.kinds.update([repair.value for repair in outcome.repairs] or [STRICT])
        return outcome.body


def usable_answer(text: str, schema: Schema) -> Reading | Fault:
    """A reply that is an answer of the schema, or why it cannot be served."""
    reading = read_object(text)
    if reading.fault is not None or reading.body is None:
        return reading.fault or Fault.EMPTY
    body = reading.body
    if not all(name in body for name in schema.get("required", ())):
        return Fault.MISSING_FIELD
    if not fits(body, schema):
        return Fault.UNFIT
    if not body.get("error") and body.get("response") is None:  # neither an error nor an answer
        return Fault.MISSING_FIELD
    return reading


async def ask(
    model: Model,
    messages: tuple[Message, ...],
    *,
    counts: ReplyCounts,
    sampling: Sampling,
    shape: Schema | None,
    structured: bool,
) -> ModelAnswer:
    """Ask until there is an answer.

    Args:
        model: is asked; when ``structured``, it must read replies by ``counts.find``.
        messages: the prompt.
        counts: what replies were like is added here.
        sampling: how to ask.
        shape: of the response; None when it is free.
        structured: ask for structured output; else the reply is free text and read here.

    Raises:
        UnreadableReplyError: no reply could be used.
        ModelUnavailableError: the model cannot be reached.
        RequestRefusedError: the model does not accept the prompt.
    """
    schema = envelope(shape)
    usage = Usage()
    failure: UnreadableReplyError | None = None
    for attempt in range(sampling.attempts):
        request = _request(messages, sampling, attempt, schema if structured else None)
        try:
            reply = await model.complete(request)
        except UnreadableReplyError as problem:
            failure = problem
            usage += problem.usage or Usage()
            counts.usage += problem.usage or Usage()
            continue
        usage += reply.usage
        counts.usage += reply.usage
        text = reply.content or ""
        if not structured:
            counts.find(text, _FREE_ENVELOPE)
        outcome = usable_answer(text, schema if structured else _FREE_ENVELOPE)
        if isinstance(outcome, Fault) or outcome.body is None:
            failure = UnreadableReplyError(f"{model.name} gave a reply that is no answer.", reply=text)
            continue
        response = outcome.body["response"]
        return ModelAnswer(
            error=outcome.body["error"],
            response="" if response is None else response,
            prompt_hash=hash_of(request),
            seed=request.seed or 0,
            usage=usage,
        )
    if failure is None:
        raise UnreadableReplyError(f"{model.name} was not asked.")
    raise UnreadableReplyError(failure.message, reply=failure.reply, hint=failure.hint, usage=usage)


# Free text comes from models that know nothing of schemas: any response counts, members may be added.
_FREE_ENVELOPE: Schema = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "response": {}},
    "required": ["error", "response"],
}


def hash_of(request: Request) -> str:
    """SHA-256 of all that a model is asked: messages, schema, seed and sampling."""
    asked = orjson.dumps(request.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(asked).hexdigest()


def _request(
    messages: tuple[Message, ...], sampling: Sampling, attempt: int, schema: Schema | None
) -> Request:
    temperature = sampling.temperature
    if attempt and temperature is not None:
        temperature = max(temperature, sampling.retry_temperature)
    return Request(
        messages=messages,
        temperature=temperature,
        max_tokens=sampling.max_tokens,
        seed=sampling.seed + attempt,
        response_schema=schema,
        schema_name="api_answer",
    )
