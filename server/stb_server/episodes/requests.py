"""The requests of episodes, as strict models, and the formats in which clients get functions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from stb_core.values import CacheMode, FunctionSchema
from stb_core.values.observations import DEFAULT_OBSERVATION, ObservationForm

ToolFormat = Literal["openai", "responses", "anthropic", "mcp"]


def _is_text(value: str) -> str:
    """Refuse half of a surrogate pair, which JSON can hold but no encoding can."""
    value.encode()
    return value


def _is_storable(value: Any) -> Any:
    """As ``_is_text``, for all texts within a JSON value; also refuse NaN and infinite numbers."""
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


StorableText = Annotated[str, AfterValidator(_is_text)]
# Compared with names in the store, which hold no NUL.
StorableName = Annotated[str, Field(max_length=100, pattern=r"^[^\x00]*$"), AfterValidator(_is_text)]
_Count = Annotated[int, Field(ge=1, le=10**9)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class EpisodeLimits(_Body):
    """How much an episode may use; a missing limit means the server's own, if it has one."""

    max_tool_calls: _Count | None = None
    max_model_calls: _Count | None = Field(default=None, description="Through the recording proxy.")
    max_tokens: _Count | None = Field(default=None, description="Prompt and completion tokens together.")
    max_seconds: float | None = Field(default=None, gt=0, le=10**9, allow_inf_nan=False)
    max_cost_usd: float | None = Field(default=None, gt=0, le=10**9, allow_inf_nan=False)


class Opening(_Body):
    """A request for an episode: the query, the agent, and the terms."""

    query_id: StorableName
    group: StorableName = Field(
        default="", description="Group of the query; required if its id is not unique."
    )
    dataset: StorableName = Field(default="", description="The server's dataset by default.")
    agent: Annotated[StorableName, Field(min_length=1)] = Field(
        default="outside", description="Name of the agent; different agents have different runs."
    )
    model: StorableName | None = Field(
        default=None, description="PROVIDER/MODEL that the agent uses, if known."
    )
    run: StorableName = Field(default="", description="Name of the run; by default made from its settings.")
    trial: int = Field(default=0, ge=0, lt=10**6)
    trials: int = Field(default=1, ge=1, le=10**6, description="Number of trials per query in the run.")
    mode: CacheMode | None = Field(
        strict=False, default=None, description="What may answer a call; the server's mode by default."
    )
    snapshot: StorableName = Field(default="", description="Content hash of the responses that may answer.")
    stateful: bool = Field(default=False, description="Make simulated answers consistent with earlier ones.")
    max_observation: int = Field(
        default=DEFAULT_OBSERVATION,
        ge=16,
        le=10**9,
        description="Maximum characters of a tool's answer that the agent sees.",
    )
    observation: ObservationForm = Field(
        default="plain",
        description="Form of a tool's answer: as the server sends it, or as the client of ToolBench writes it.",
    )
    finish: Literal["call", "text"] = Field(
        default="call",
        description="How the agent ends: by a call of Finish, or also by the last words of its model, which"
        " are then its answer. The latter needs the recording proxy.",
    )
    answer_function: StorableName = Field(
        default="", description="With finish=text: the agent's own function for its answer, if it has one."
    )
    budget: EpisodeLimits = EpisodeLimits()
    record: bool = Field(
        default=True, description="Store the trajectory in a run; use false if the client stores it."
    )
    restart: bool = Field(
        default=False, description="End an open episode of the same trial; it is kept on record."
    )


class Call(_Body):
    """A call of a function, as a model wrote it."""

    name: Annotated[StorableText, Field(max_length=1000)]
    arguments: Annotated[dict[str, JsonValue] | str | None, AfterValidator(_is_storable)] = Field(
        default=None, description="An object, or its JSON text."
    )
    call_id: StorableName = Field(
        default="", description="The client's own id of the call; a call with the same id is not made again."
    )


class Finish(_Body):
    """The end of an episode: an answer, or null to give up."""

    answer: Annotated[JsonValue, AfterValidator(_is_storable)] = Field(
        default=None,
        description="Text or any other JSON value; null gives up. Needed, except with finish=text: without it"
        " the last words of the agent's model are its answer.",
    )


class Problem(BaseModel):
    """Why a request was refused."""

    error: str = Field(description="What happened and what to do, in a sentence.")
    type: str = Field(description="The kind of problem, for programs.")


def tools_as(form: ToolFormat, schemas: Sequence[FunctionSchema]) -> list[dict[str, Any]]:
    """Functions in the format of a model API, or of MCP."""
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
