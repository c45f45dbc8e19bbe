"""The interface to language models: one method, with plain values in and out; and where a model is.

There are two implementations: ``OpenAIModel`` for any OpenAI-compatible endpoint, and ``ScriptedModel``,
which answers by a rule and serves tests and demonstrations.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from stb_core.usage import Usage
from stb_core.values import FunctionCall, FunctionSchema, Message


class Request(BaseModel):
    """One request to a model.

    ``response_schema`` asks for JSON that fits the schema (structured output, with the name ``schema_name``);
    ``tool_choice`` is ``"auto"``, ``"none"``, ``"required"`` or the name of one function. ``prompt``
    is one text for the model to continue, for models without a chat format: it is sent in place of the messages.
    ``older_limit`` sends ``max_tokens`` under this name to every endpoint, also where it has a newer one.
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
    # Younger than stored hashes of requests: left out where false, so that these stay the same.
    older_limit: bool = Field(default=False, exclude_if=lambda older: not older)

    @property
    def hash(self) -> str:
        """SHA-256 of the request's JSON, its fields in order: the same request has the same hash."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class Reply(BaseModel):
    """What a model answered: text, calls, or both.

    ``thoughts`` is what a thinking model wrote before, where its server keeps that apart; it is never read as a part
    of the answer. ``repeats`` counts the replies before it that could not be used; ``repeats.repeat_request`` gives the
    request that this one answers.
    """

    model_config = ConfigDict(frozen=True)

    content: str | None = None
    tool_calls: tuple[FunctionCall, ...] = ()
    finish_reason: str = "stop"
    usage: Usage = Usage()
    model: str = ""
    # Left out where empty, as older versions wrote it.
    thoughts: str = Field(default="", exclude_if=lambda thoughts: not thoughts)
    repeats: int = 0

    def as_message(self) -> Message:
        """The reply as a message, to append to the conversation."""
        return Message(role="assistant", content=self.content, tool_calls=self.tool_calls)


class Model(Protocol):
    """A language model."""

    @property
    def name(self) -> str:
        """``PROVIDER/MODEL``, as on the command line and in manifests."""
        ...

    async def complete(self, request: Request) -> Reply:
        """Answer a request.

        Raises:
            ModelUnavailableError: no answer after all retries.
            UnreadableReplyError: an answer that is not in the form asked for.
        """
        ...


@dataclass(frozen=True)
class Endpoint:
    """Where a model is; the variables are named in errors, the key never is."""

    base_url: str
    api_key: str | None = field(repr=False)
    url_variable: str
    key_variable: str
