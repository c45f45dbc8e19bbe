"""Tool documents in ToolBench's form: a tool (one RapidAPI product) has APIs (its endpoints)."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from stb_core.values.names import (
    standardize_api,
    standardize_category,
    standardize_parameter,
    standardize_tool,
)


class ApiRef(NamedTuple):
    """Which API is meant; all three names in standard form."""

    category: str
    tool: str
    api: str


class Parameter(BaseModel):
    """One parameter of an API, as documented; ``type`` is RapidAPI's word (STRING, NUMBER, …)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    type: str = "STRING"
    description: str = ""
    default: Any = ""

    @field_validator("type", "description", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return "" if value is None else value

    @property
    def standard_name(self) -> str:
        """The name that agents see and recorded calls use."""
        return standardize_parameter(self.name)


class ApiDocument(BaseModel):
    """One API as documented; fields that we do not know are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    description: str = ""
    method: str = ""
    required_parameters: tuple[Parameter, ...] = Field(default=(), fail_fast=True)
    optional_parameters: tuple[Parameter, ...] = Field(default=(), fail_fast=True)
    template_response: Any = None

    @field_validator("description", "method", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return "" if value is None else value

    @field_validator("required_parameters", "optional_parameters", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        return () if value is None else value

    @property
    def standard_name(self) -> str:
        """The name that calls use."""
        return standardize_api(self.name)

    @property
    def optional_names(self) -> frozenset[str]:
        """The names of its optional parameters, as documented and in standard form; none of a required one."""
        optional = {name for one in self.optional_parameters for name in (one.name, one.standard_name)}
        required = {name for one in self.required_parameters for name in (one.name, one.standard_name)}
        return frozenset(optional - required)


class ToolDocument(BaseModel):
    """One tool with its APIs, as in ``tools/<Category>/<tool>.json``."""

    model_config = ConfigDict(frozen=True, extra="allow")

    category: str = Field(min_length=1)
    tool_name: str = Field(min_length=1)
    tool_description: str = ""
    api_list: tuple[ApiDocument, ...] = Field(default=(), fail_fast=True)

    @field_validator("category")
    @classmethod
    def _standard_category(cls, value: str) -> str:
        return standardize_category(value)

    @field_validator("tool_description", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return "" if value is None else value

    @property
    def standard_name(self) -> str:
        """The name that calls use."""
        return standardize_tool(self.tool_name)
