"""Settings: the one place that reads the environment, ``.env`` and configuration files.

Order of precedence, the strongest first: command-line flag, environment (``STB_<FLAG>``), ``.env``,
the file named by ``--config``, ``stb.toml``, default.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dotenv
import yaml

from stb_core.errors import FormatError, NotFoundError, UsageError

PREFIX = "STB_"
DEFAULT_STORE = Path(".stb/stb.db")


@dataclass(frozen=True)
class Settings:
    """What every command shares. Options of single commands are their own parameters."""

    database_url: str
    """Database URL of the store; SQLite at ``.stb/stb.db`` unless told otherwise."""
    values: Mapping[str, Any]
    """Everything configured, by lower-case flag name without the prefix; tables are commands."""
    environment: Mapping[str, str]
    """The process environment with ``.env`` beneath it; holds secrets, so never shown or stored."""

    @property
    def flags(self) -> dict[str, str]:
        """What the environment sets, by lower-case flag name; set and empty is not set."""
        return flags_of(self.environment)

    def provider(self, name: str) -> tuple[str | None, str | None]:
        """(base URL, API key) of a model provider, from ``<NAME>_BASE_URL`` and ``<NAME>_API_KEY``.

        Raises:
            UsageError: the key holds what no HTTP header can.
        """
        prefix = provider_prefix(name)
        url, key = self.environment.get(f"{prefix}_BASE_URL"), self.environment.get(f"{prefix}_API_KEY")
        return url or None, checked_secret(key or "", f"{prefix}_API_KEY") or None


def checked_secret(secret: str, name: str) -> str:
    """A key or token as it is sent: without the white space around it that files and shells leave.

    Raises:
        UsageError: it holds what no HTTP header can; the message names it and does not show it.
    """
    secret = secret.strip()
    if not (secret.isascii() and secret.isprintable()):
        raise UsageError(
            f"{name} holds characters that no key can hold.",
            hint="Copy it again, without quotes or line breaks.",
        )
    return secret


def flags_of(environment: Mapping[str, str]) -> dict[str, str]:
    """The values of ``STB_<FLAG>`` by lower-case flag name; set and empty is not set."""
    return {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX) and value != ""
    }


def provider_prefix(provider: str) -> str:
    """How the variables of a model provider begin: ``"together-ai"`` → ``"TOGETHER_AI"``."""
    return provider.upper().replace("-", "_").replace(".", "_")


def load_settings(config: Path | None = None) -> Settings:
    """Read all sources once.

    Args:
        config: a TOML or YAML file; ``stb.toml`` in the working directory is read beneath it.

    Raises:
        NotFoundError: the file is not there.
        FormatError: a file cannot be parsed.
    """
    environment = {
        **{name: value for name, value in dotenv.dotenv_values(".env").items() if value is not None},
        **os.environ,
    }
    values: dict[str, Any] = {}
    if Path("stb.toml").is_file():
        values |= _read(Path("stb.toml"))
    if config is None and environment.get(f"{PREFIX}CONFIG"):
        config = Path(environment[f"{PREFIX}CONFIG"])
    if config is not None:
        if not config.is_file():
            raise NotFoundError(f"There is no configuration file {config}.", hint="Check --config.")
        values = _over(values, _read(config))
    values |= flags_of(environment)
    url = values.get("database_url") or f"sqlite+aiosqlite:///{DEFAULT_STORE}"
    if not isinstance(url, str):
        raise UsageError("database_url is not text.", hint="Write a database URL.")
    return Settings(database_url=url, values=values, environment=environment)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as problem:
        reason = " ".join(str(problem).split())
        raise FormatError(f"{path} cannot be read: {reason}.", hint="Mend it, or leave it out.") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise FormatError(f"{path} does not hold settings by name.", hint="Write one 'name: value' a line.")
    return {str(name).replace("-", "_").lower(): value for name, value in found.items()}


def _over(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others over them, one by one within tables as well."""
    merged = dict(low)
    for name, value in high.items():
        below = merged.get(name)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[name] = _over(below, value) if both else value  # type: ignore[arg-type]
    return merged
