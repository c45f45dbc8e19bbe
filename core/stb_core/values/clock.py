"""The time of day, as the store writes it."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    """The present moment in UTC: ISO 8601 with microseconds, which sorts as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
