"""What a reader of foreign files reports beside what it read: parts left out, and conflicts."""

from __future__ import annotations

from typing import NamedTuple


class Skipped(NamedTuple):
    """Something that was left out, and why."""

    file: str
    reason: str


class Conflict(NamedTuple):
    """Two entries for one thing: ``kept`` came first, ``dropped`` is left out; did they agree?"""

    file: str
    kept: str
    dropped: str
    agree: bool


def shortened(text: str, length: int = 60) -> str:
    """Text for a message, cut where it is longer."""
    return text if len(text) <= length else f"{text[:length]}…"


def is_text(value: str) -> bool:
    """Whether a string can be written as UTF-8, which half of a surrogate pair cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
