"""What a language model is to the rest of the program: one method, pure values in and out.

Two implementations ship: ``OpenAIModel`` for any OpenAI-compatible endpoint, and ``ScriptedModel``,
which answers by rule and is used in tests and demonstrations.
"""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from stb_core.trajectories import FunctionCall, Message, Usage


class FunctionSchema(BaseModel):
    """One function that a model may call; ``parameters`` is a JSON Schema of type object."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str = ""
    parameters: dict[str, Any] = {"type": "object", "properties": {}}


class Request(BaseModel):
    """One request to a model.

    ``response_schema`` asks for JSON of that schema (structured output, under ``schema_name``);
    ``tool_choice`` is ``"auto"``, ``"none"``, ``"required"`` or the name of one function. ``prompt``
    is text to be gone on with, for models without a chat format: it is sent in place of the messages.
    """

    model_config = ConfigDict(frozen=True)

    messages: tuple[Message, ...]
    functions: tuple[FunctionSchema, ...] = ()
    tool_choice: str = "auto"
    temperature: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    response_schema: dict[str, Any] | None = None
    schema_name: str = "answer"
    prompt: str | None = None

    @property
    def hash(self) -> str:
        """SHA-256 of the request's JSON, its fields in order: the same request has the same hash."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class Reply(BaseModel):
    """What a model answered: text, calls, or both.

    ``repeats`` counts the replies before it that could not be used; which request this one answers,
    ``repeats.repeated`` tells.
    """

    model_config = ConfigDict(frozen=True)

    content: str | None = None
    tool_calls: tuple[FunctionCall, ...] = ()
    finish_reason: str = "stop"
    usage: Usage = Usage()
    model: str = ""
    repeats: int = 0

    def as_message(self) -> Message:
        """The reply as a message to be appended to the conversation."""
        return Message(role="assistant", content=self.content, tool_calls=self.tool_calls)


class Price(BaseModel):
    """What a model's tokens cost, in USD per million; cached prompt tokens as others unless stated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(default=None, ge=0)

    def cost_usd(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """The price of one call; ``cached_tokens`` are among the prompt's."""
        cached = self.input if self.cached_input is None else self.cached_input
        millionths = (
            (prompt_tokens - cached_tokens) * self.input
            + cached_tokens * cached
            + completion_tokens * self.output
        )
        return millionths / 1e6


def usage_of_call(prompt: int, completion: int, cached: int, price: Price | None) -> Usage:
    """What one call consumed; ``cached`` tokens are among the prompt's."""
    return Usage(
        model_calls=1,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        cost_usd=None if price is None else price.cost_usd(prompt, completion, cached),
    )


class Model(Protocol):
    """A language model."""

    @property
    def name(self) -> str:
        """``PROVIDER/MODEL``, as it is written on the command line and in manifests."""
        ...

    async def complete(self, request: Request) -> Reply:
        """Answer a request.

        Raises:
            ModelUnavailableError: no answer after all retries.
            UnreadableReplyError: an answer that is not in the form asked for.
        """
        ...
