"""Logs: one JSON line an event on stderr, fields beside the message, secrets masked.

What is being worked on (a run and its query, a client's request) is set once by ``fields`` and stands in
every line that is written meanwhile.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import orjson

from stb_core.errors import UsageError
from stb_core.telemetry.secrets import MASK, mask_known

_LEVELS = {"debug", "info", "warning", "error"}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {
    *("message", "asctime", "taskName"),
    "color_message",  # uvicorn's: the same again, for a terminal
}
# Libraries that have a line to say about each request, each start, or, with the whole stack, each attempt to
# reach a database whose absence we report ourselves.
_CHATTY = {
    **dict.fromkeys(("alembic", "httpcore", "httpx", "httpx2", "openai"), logging.WARNING),
    "asyncpg.pool": logging.ERROR,
}
_SECRET_NAMES = re.compile(r"api[-_]?key|toolbench_key|token|authorization|secret|password", re.IGNORECASE)
_SECRET_VALUES = re.compile(r"(sk-[A-Za-z0-9_-]{8,}|Bearer\s+\S+|://[^/\s:@]+:[^/\s@]+@)")

_current: ContextVar[dict[str, str]] = ContextVar("_current", default={})  # noqa: B039 - never changed in place


@contextmanager
def fields(**given: str) -> Generator[None]:
    """Put fields into every line that is written within the block, by whatever it calls or starts."""
    before = _current.set({**_current.get(), **given})
    try:
        yield
    finally:
        _current.reset(before)


def current_field(name: str) -> str:
    """A field that is set now, or empty text."""
    return _current.get().get(name, "")


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object; what is passed as ``extra`` becomes fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": mask_secrets(record.getMessage()),
            **{name: mask_secrets(value) for name, value in _current.get().items()},
        }
        for name, value in vars(record).items():
            if name not in _STANDARD and not name.startswith("_"):
                fields[name] = MASK if _SECRET_NAMES.fullmatch(name) else mask_secrets(value)
        if record.exc_info:
            fields["error"] = mask_secrets(self.formatException(record.exc_info))
        return mask_known(orjson.dumps(fields, default=str).decode())


def mask_secrets(value: Any) -> Any:
    """``value`` without known secrets and anything that looks like a credential, if it is text."""
    return _SECRET_VALUES.sub(MASK, mask_known(value)) if isinstance(value, str) else value


def configure(level: str) -> None:
    """Send all logs at or above ``level`` to stderr.

    Raises:
        UsageError: there is no such level.
    """
    if level.lower() not in _LEVELS:
        raise UsageError(f"There is no log level {level!r}.", hint="Use debug, info, warning or error.")
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(level.upper())  # whatever levels libraries give to their own loggers
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name, least in _CHATTY.items():
        logging.getLogger(name).setLevel(logging.NOTSET if level.lower() == "debug" else least)


def current_level() -> str:
    """The level that logs are at, for a process that is to log as this one does."""
    return logging.getLevelName(logging.getLogger().level).lower()
