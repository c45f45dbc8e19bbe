"""The real APIs and how to reach them: read from a TOML or YAML file.

    [limits]
    total_s = 20
    allowed_networks = ["10.0.0.0/8"]

    [proxy]                                     # a server that speaks ToolBench's protocol
    url = "https://proxy.example/rapidapi"
    key_variable = "TOOLBENCH_KEY"              # for callers that bring no key

    [hosts."films.example"]
    concurrency = 2
    per_second = 5

    [[tools]]                                   # a tool whose API is called directly
    category = "Movies"
    tool = "films"
    url = "https://films.example/v1"
    headers = { Host-Variant = "films" }
    secret_headers = { X-RapidAPI-Key = "RAPIDAPI_KEY" }
    [tools.apis."Find title"]
    path = "/title/{id}"
    query = ["q"]

The file holds no secrets: it names the environment variables that do.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from stb_core.errors import FormatError, NotFoundError, UsageError
from stb_core.values import ApiRef, standardize_api, standardize_category, standardize_tool
from stb_server.upstream.fetch import FetchLimits
from stb_server.upstream.host_state import HostLimits
from stb_server.upstream.network_guard import Network


def _web_address(value: str) -> str:
    try:
        url = httpx.URL(value)
    except httpx.InvalidURL:
        raise ValueError("is not a URL") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("must begin with http:// or https:// and a host")
    if url.userinfo or url.query or url.fragment:
        raise ValueError("must have no user, query or fragment; put keys into the environment")
    return value.rstrip("/")


def _header_text(value: str) -> str:
    if not value.isprintable() or not value.isascii():
        raise ValueError("is not the text of a header")
    return value


Url = Annotated[str, AfterValidator(_web_address)]
HeaderText = Annotated[str, AfterValidator(_header_text)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Seconds = Annotated[float, Field(gt=0, le=600)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LimitsSection(_Model):
    """What one call may take; see ``FetchLimits``."""

    connect_s: Seconds = 5.0
    read_s: Seconds = 15.0
    total_s: Seconds = 30.0
    max_body_bytes: int = Field(default=1_000_000, ge=1, le=100_000_000)
    max_redirects: int = Field(default=3, ge=0, le=20)
    max_attempts: int = Field(default=3, ge=1, le=10)
    allowed_networks: tuple[Network, ...] = ()
    ca_file: Path | None = None

    def of_fetches(self) -> FetchLimits:
        """The same as the fetcher takes it."""
        return FetchLimits(**dict(self))


class HostSection(_Model):
    """What a host may be asked for; see ``HostLimits``."""

    concurrency: int = Field(default=4, ge=1, le=1_000)
    per_second: float = Field(default=0.0, ge=0)
    breaker_failures: int = Field(default=5, ge=1)
    breaker_reset_s: Seconds = 30.0

    def limits(self) -> HostLimits:
        """The same as the fetcher takes it."""
        return HostLimits(**dict(self))


class ProxySection(_Model):
    """A server that speaks ToolBench's RapidAPI proxy protocol."""

    url: Url
    key_variable: VariableName | None = None
    """Environment variable with the key for callers that bring none."""


class DirectApi(_Model):
    """How one API is called; parameters by their documented names."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    path: str = Field(default="", pattern=r"^(/[^?#\s]*)?$")
    """Below the tool's URL; ``{name}`` stands for a parameter."""
    query: tuple[str, ...] = ()
    """Parameters for the query. Of those not listed anywhere, GET and DELETE put all there."""
    body: tuple[str, ...] = ()
    """Parameters for the body. Of those not listed anywhere, other methods put all there."""
    body_format: Literal["json", "form"] = "json"


class DirectTool(_Model):
    """A tool whose API is called directly."""

    category: str
    tool: str
    url: Url
    headers: dict[HeaderName, HeaderText] = {}
    secret_headers: dict[HeaderName, VariableName] = {}
    """Headers by the environment variables that hold their values."""
    apis: dict[str, DirectApi] = Field(min_length=1)


class UpstreamConfig(_Model):
    """The whole file."""

    limits: LimitsSection = LimitsSection()
    default_host: HostSection = HostSection()
    hosts: dict[str, HostSection] = {}
    proxy: ProxySection | None = None
    tools: tuple[DirectTool, ...] = ()

    def direct_apis(self) -> dict[ApiRef, tuple[DirectTool, DirectApi]]:
        """The APIs that are called directly, by their standard names."""
        return {
            ApiRef(standardize_category(tool.category), standardize_tool(tool.tool), standardize_api(name)): (
                tool,
                api,
            )
            for tool in self.tools
            for name, api in tool.apis.items()
        }

    def secrets(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The values of all variables that the file names.

        Raises:
            UsageError: one is not set, or cannot stand in a header.
        """
        names = {name for tool in self.tools for name in tool.secret_headers.values()}
        if self.proxy and self.proxy.key_variable:
            names.add(self.proxy.key_variable)
        missing = sorted(name for name in names if not environment.get(name))
        if missing:
            raise UsageError(
                f"{', '.join(missing)} must be set in the environment.",
                hint="The upstream configuration takes its keys from there.",
            )
        for name in sorted(names):
            if not environment[name].isascii() or not environment[name].isprintable():
                raise UsageError(f"The value of {name} cannot be sent in a header.", hint="Check it.")
        return {name: environment[name] for name in names}


def read_upstream_config(path: Path) -> UpstreamConfig:
    """Read a configuration file.

    Raises:
        NotFoundError: the file is not there.
        FormatError: it is not TOML or YAML of this form; the message names the place.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document: Any = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except FileNotFoundError:
        raise NotFoundError(f"There is no upstream configuration {path}.", hint="Check --upstream.") from None
    except (OSError, ValueError, yaml.YAMLError) as problem:
        raise _unreadable(path, " ".join(str(problem).split())) from None
    try:
        return UpstreamConfig.model_validate(document or {})
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise _unreadable(path, f"{place}: {first['msg']}") from None


def _unreadable(path: Path, reason: str) -> FormatError:
    return FormatError(
        f"The upstream configuration {path} cannot be used: {reason.rstrip('.')}.", hint="Fix the file."
    )
