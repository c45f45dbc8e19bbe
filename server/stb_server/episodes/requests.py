"""What clients of episodes send, as strict models, and how the functions of a query are written for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from stb_core.values.functions import FunctionSchema
from stb_core.values.observations import DEFAULT_OBSERVATION
from stb_core.values.provenance import CacheMode

ToolFormat = Literal["openai", "responses", "anthropic", "mcp"]


def _is_text(value: str) -> str:
    """JSON can hold half of a surrogate pair, which no encoding can."""
    value.encode()
    return value


def _holds_text(value: Any) -> Any:
    """As ``_is_text``, of all texts within a JSON value."""
    json.dumps(value, ensure_ascii=False).encode()
    return value


StorableText = Annotated[str, AfterValidator(_is_text)]
# What is compared with names in the store, which hold no NUL.
StorableName = Annotated[str, Field(max_length=100, pattern=r"^[^\x00]*$"), AfterValidator(_is_text)]
_Count = Annotated[int, Field(ge=1, le=10**9)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class EpisodeLimits(_Body):
    """How much an episode may use; what is not given has no limit but the server's own."""

    max_tool_calls: _Count | None = None
    max_model_calls: _Count | None = Field(default=None, description="Through the recording proxy.")
    max_tokens: _Count | None = Field(default=None, description="Prompt and completion tokens together.")
    max_seconds: float | None = Field(default=None, gt=0, le=10**9, allow_inf_nan=False)
    max_cost_usd: float | None = Field(default=None, gt=0, le=10**9, allow_inf_nan=False)


class Opening(_Body):
    """An episode that is wanted: a query, who plays it, and under what terms."""

    query_id: StorableName
    group: StorableName = Field(default="", description="Of the query; needed where its id is not unique.")
    dataset: StorableName = Field(default="", description="The server's default unless given.")
    agent: Annotated[StorableName, Field(min_length=1)] = Field(
        default="outside", description="A name for the agent; runs of different agents are different runs."
    )
    model: StorableName | None = Field(
        default=None, description="PROVIDER/MODEL that the agent asks, if it says so."
    )
    run: StorableName = Field(
        default="", description="A name for the run; else one is made from its settings."
    )
    trial: int = Field(default=0, ge=0, lt=10**6)
    trials: int = Field(default=1, ge=1, le=10**6, description="How many trials the run makes of each query.")
    mode: CacheMode | None = Field(
        strict=False, default=None, description="What may answer a call; the server's mode unless given."
    )
    snapshot: StorableName = Field(default="", description="Content hash of the responses that may answer.")
    stateful: bool = Field(default=False, description="Let simulated answers agree with earlier ones.")
    max_observation: int = Field(
        default=DEFAULT_OBSERVATION,
        ge=16,
        le=10**9,
        description="Characters of a tool's answer that the agent is shown.",
    )
    budget: EpisodeLimits = EpisodeLimits()
    record: bool = Field(
        default=True, description="Store the trajectory in a run; false where the client keeps it."
    )
    restart: bool = Field(
        default=False, description="Put an end to an open episode of the same trial; it stays on record."
    )


class Call(_Body):
    """A call of a function, as a model wrote it."""

    name: Annotated[StorableText, Field(max_length=1000)]
    arguments: Annotated[dict[str, JsonValue] | str | None, AfterValidator(_holds_text)] = Field(
        default=None, description="An object, or its text."
    )
    call_id: StorableName = Field(
        default="", description="The client's own name for the call: asked again, it is not made again."
    )


class Finish(_Body):
    """The end of an episode: an answer, or null to give up."""

    answer: Annotated[JsonValue, AfterValidator(_holds_text)] = Field(
        description="Text, or anything else that JSON can hold; null gives up."
    )


class Problem(BaseModel):
    """Why a request was not carried out."""

    error: str = Field(description="What happened and what to do, in a sentence.")
    type: str = Field(description="The kind of problem, for programs.")


def tools_as(form: ToolFormat, schemas: Sequence[FunctionSchema]) -> list[dict[str, Any]]:
    """Functions in the shape that a model's API, or MCP, takes."""
    return [_SHAPES[form](schema) for schema in schemas]


def _openai(schema: FunctionSchema) -> dict[str, Any]:
    return {"type": "function", "function": schema.model_dump()}


def _responses(schema: FunctionSchema) -> dict[str, Any]:
    # Strict functions must require all their parameters, which those of real APIs do not.
    return {"type": "function", **schema.model_dump(), "strict": False}


def _anthropic(schema: FunctionSchema) -> dict[str, Any]:
    return {"name": schema.name, "description": schema.description, "input_schema": schema.parameters}


def _mcp(schema: FunctionSchema) -> dict[str, Any]:
    return {"name": schema.name, "description": schema.description, "inputSchema": schema.parameters}


_SHAPES = {"openai": _openai, "responses": _responses, "anthropic": _anthropic, "mcp": _mcp}
