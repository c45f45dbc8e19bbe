"""What the import of files reports besides their contents: skipped files and entries, and conflicts."""

from __future__ import annotations

from typing import NamedTuple


class SkippedFile(NamedTuple):
    """A file, or an entry of one, that was left out, and why."""

    file: str
    reason: str


class Gap(NamedTuple):
    """Something that was imported although a part of it is missing, and which."""

    file: str
    reason: str


class Conflict(NamedTuple):
    """Two entries for the same thing: ``kept`` came first, ``dropped`` is left out."""

    file: str
    kept: str
    dropped: str
    agree: bool
    """Whether both say the same."""


def shortened(text: str, length: int = 60) -> str:
    """Text for a message, cut if it is longer than ``length`` characters."""
    return text if len(text) <= length else f"{text[:length]}…"


def is_text(value: str) -> bool:
    """Whether a string can be written as UTF-8; half of a surrogate pair cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
