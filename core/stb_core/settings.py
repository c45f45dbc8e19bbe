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

    def provider(self, name: str) -> tuple[str | None, str | None]:
        """(base URL, API key) of a model provider, from ``<NAME>_BASE_URL`` and ``<NAME>_API_KEY``."""
        prefix = provider_prefix(name)
        url, key = self.environment.get(f"{prefix}_BASE_URL"), self.environment.get(f"{prefix}_API_KEY")
        return url or None, key or None  # set and empty is not set


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
        values |= _read(config)
    values |= {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX) and value != ""
    }
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
