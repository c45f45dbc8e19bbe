"""Settings: the one place that reads the environment, ``.env`` and configuration files.

Order of precedence, the strongest first: command-line flag, environment (``STB_<FLAG>``), ``.env``,
the file named by ``--config``, ``stb.toml``, default.

Files are TOML. YAML is still read, with a note; ``python -m stb_core.settings FILE`` prints such a file as TOML.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time
from pathlib import Path
from typing import Any

import dotenv
import yaml

from stb_core.errors import FormatError, NotFoundError, UsageError

PREFIX = "STB_"
FILE_LIMITS = "STB_FILE_LIMITS"
"""The variable that multiplies all limits on files of others."""
DEFAULT_STORE = Path(".stb/stb.db")


@dataclass(frozen=True)
class Settings:
    """What every command shares. Options of single commands are their own parameters."""

    database_url: str
    """Database URL of the store; SQLite at ``.stb/stb.db`` by default."""
    values: Mapping[str, Any]
    """Everything configured, by lower-case flag name without the prefix; tables are commands."""
    environment: Mapping[str, str]
    """The process environment with ``.env`` beneath it; holds secrets, so never shown or stored."""
    deprecations: tuple[str, ...] = ()
    """What should be written differently, one line each, for the person."""

    @property
    def flags(self) -> dict[str, str]:
        """What the environment sets, by lower-case flag name; empty ones count as not set."""
        return flags_of(self.environment)

    def provider(self, name: str) -> tuple[str | None, str | None]:
        """(base URL, API key) of a model provider, from ``<NAME>_BASE_URL`` and ``<NAME>_API_KEY``.

        Raises:
            UsageError: the key holds characters that an HTTP header cannot.
        """
        prefix = provider_prefix(name)
        url, key = self.environment.get(f"{prefix}_BASE_URL"), self.environment.get(f"{prefix}_API_KEY")
        return url or None, checked_secret(key or "", f"{prefix}_API_KEY") or None


def checked_secret(secret: str, name: str) -> str:
    """A key or token as it is sent: without the white space around it that files and shells leave.

    Raises:
        UsageError: it holds characters that an HTTP header cannot; the message gives its name, not its value.
    """
    secret = secret.strip()
    if not (secret.isascii() and secret.isprintable()):
        raise UsageError(
            f"{name} holds characters that a key cannot have.",
            hint="Copy it again, without quotes or line breaks.",
        )
    return secret


def flags_of(environment: Mapping[str, str]) -> dict[str, str]:
    """The values of ``STB_<FLAG>`` by lower-case flag name; empty ones count as not set."""
    return {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX) and value != ""
    }


def output_columns() -> int | None:
    """How wide output is to be by the variable ``COLUMNS``; None where it says nothing usable."""
    given = os.environ.get("COLUMNS", "")
    return int(given) if given.isdecimal() else None


def file_limit_factor() -> float:
    """What the environment multiplies the limits on files of others by; 1 if it says nothing.

    Raises:
        UsageError: it is not a number of at least 1.
    """
    given = os.environ.get(FILE_LIMITS, "") or "1"
    try:
        factor = float(given)
    except ValueError:
        factor = 0
    if not 1 <= factor <= 1_000_000:
        raise UsageError(
            f"{FILE_LIMITS} is {given!r}.", hint="Write a number of at least 1: 4 for four times as much."
        )
    return factor


def provider_prefix(provider: str) -> str:
    """The prefix of a model provider's variables: ``"together-ai"`` → ``"TOGETHER_AI"``."""
    return provider.upper().replace("-", "_").replace(".", "_")


def load_settings(config: Path | None = None) -> Settings:
    """Read all sources once.

    Args:
        config: a TOML file, or one in YAML, which is deprecated; ``stb.toml`` in the working directory is
            read beneath it.

    Raises:
        NotFoundError: the file does not exist.
        FormatError: a file cannot be parsed.
    """
    environment = {
        **{name: value for name, value in dotenv.dotenv_values(".env").items() if value is not None},
        **os.environ,
    }
    values: dict[str, Any] = {}
    deprecations: list[str] = []
    if Path("stb.toml").is_file():
        values |= _read(Path("stb.toml"))
    if config is None and environment.get(f"{PREFIX}CONFIG"):
        config = Path(environment[f"{PREFIX}CONFIG"])
    if config is not None:
        if not config.is_file():
            raise NotFoundError(f"There is no configuration file {config}.", hint="Check --config.")
        values = _over(values, _read(config))
        if config.suffix != ".toml":
            command = shlex.join([sys.executable, "-m", "stb_core.settings", str(config)])
            toml = shlex.quote(str(config.with_suffix(".toml")))
            deprecations.append(
                f"{config}: settings in YAML are deprecated. Convert the file with: {command} > {toml}"
            )
    values |= flags_of(environment)
    url = values.get("database_url") or f"sqlite+aiosqlite:///{DEFAULT_STORE}"
    if not isinstance(url, str):
        raise UsageError("database_url is not text.", hint="Write a database URL.")
    return Settings(
        database_url=url, values=values, environment=environment, deprecations=tuple(deprecations)
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as problem:
        reason = " ".join(str(problem).split())
        raise FormatError(f"{path} cannot be read: {reason}.", hint="Fix it, or leave it out.") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise FormatError(
            f"{path} does not hold settings by name.", hint="Write one 'name = value' per line."
        )
    return {str(name).replace("-", "_").lower(): value for name, value in document.items()}


def _over(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others over them, one by one within tables as well."""
    merged = dict(low)
    for name, value in high.items():
        below = merged.get(name)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[name] = _over(below, value) if both else value  # type: ignore[arg-type]
    return merged


def toml_of(values: Mapping[str, Any]) -> str:
    """Settings as the text of a TOML file; settings that are None are left out."""
    return "".join(f"{line}\n" for line in _toml_lines(values, ()))


def _toml_lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """A table's own settings, then the tables in it."""
    names = [(_toml_name(str(name)), value) for name, value in table.items() if value is not None]
    own = [(name, value) for name, value in names if not isinstance(value, Mapping)]
    if path and (own or not names):
        yield f"[{'.'.join(path)}]"
    for name, value in own:
        yield f"{name} = {_toml_value(value)}"
    for name, value in names:
        if isinstance(value, Mapping):
            yield from _toml_lines(value, (*path, name))


def _toml_name(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _toml_value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_toml_name(str(k))} = {_toml_value(v)}' for k, v in value.items())} }}"
    if isinstance(value, date | time):
        return value.isoformat()
    # Numbers, true and false are written as in JSON, and so is text, except for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


if __name__ == "__main__":
    sys.stdout.write(toml_of(_read(Path(sys.argv[1]))))
