"""Runs as a folder of pages, for a room that reports and does not draw pages: found by entry point.

The group ``stabletoolbench.sites`` holds one callable, ``runs``, which writes them.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stb_core.store import Store

ENTRY_POINTS = "stabletoolbench.sites"
RUNS = "runs"


@dataclass(frozen=True)
class Site:
    """What was written: ``first`` is the page to open, ``size`` in bytes."""

    first: Path
    pages: int
    files: int
    size: int


class Publisher(Protocol):
    """Writes a site."""

    async def __call__(
        self,
        store: Store,
        runs: Sequence[str],
        folder: Path,
        *,
        title: str,
        force: bool,
        advance: Callable[[int, int], None],
    ) -> Site:
        """Write all pages of these runs into a folder that is not there yet, or is empty.

        Args:
            store: where the runs are.
            runs: their ids.
            folder: made as a whole or not at all; an older site there is replaced if ``force``.
            title: heading of the first page; "" for a plain one.
            force: whether an older site may be replaced.
            advance: told how many of how many files are written.

        Raises:
            ConflictError: something else is in the folder.
            StoreError: the store cannot be read, or the folder not be written.
        """
        ...


def publisher() -> Publisher | None:
    """What writes sites, or None where nothing is installed that does."""
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS, name=RUNS):
        found: Publisher = entry.load()
        return found
    return None
