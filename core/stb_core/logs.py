"""Logs: one JSON line an event on stderr, fields beside the message, secrets masked."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import orjson

from stb_core.errors import UsageError

_LEVELS = {"debug", "info", "warning", "error"}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Libraries that have a line to say about each request, or each start.
_CHATTY = ("alembic", "httpcore", "httpx", "httpx2", "openai")
_SECRET_NAMES = re.compile(r"api[-_]?key|toolbench_key|token|authorization|secret|password", re.IGNORECASE)
_SECRET_VALUES = re.compile(r"(sk-[A-Za-z0-9_-]{8,}|Bearer\s+\S+|://[^/\s:@]+:[^/\s@]+@)")


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object; what is passed as ``extra`` becomes fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": masked(record.getMessage()),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD and not name.startswith("_"):
                fields[name] = "***" if _SECRET_NAMES.fullmatch(name) else masked(value)
        if record.exc_info:
            fields["error"] = masked(self.formatException(record.exc_info))
        return orjson.dumps(fields, default=str).decode()


def masked(value: Any) -> Any:
    """``value`` with anything that looks like a credential hidden, if it is text."""
    return _SECRET_VALUES.sub("***", value) if isinstance(value, str) else value


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
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET if level.lower() == "debug" else logging.WARNING)
