"""Scores of stored runs, for a room that shows them and does not compute them: found by entry point.

The group ``stabletoolbench.scores`` holds callables by name: ``scores`` gives the rows of ``stb score``
for runs, ``differences`` those of ``stb compare`` for every two of them. Neither asks a judge anything.
The group ``stabletoolbench.figures`` holds one, ``comparison``, which draws such rows as ``stb report`` does.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from stb_core.store import Store

ENTRY_POINTS = "stabletoolbench.scores"
SCORES = "scores"
DIFFERENCES = "differences"
DRAWING = "stabletoolbench.figures"
COMPARISON = "comparison"

Row = dict[str, Any]


class Provider(Protocol):
    """Computes rows from what the store holds."""

    async def __call__(self, store: Store, runs: Sequence[str]) -> list[Row]:
        """The rows of these runs, by every judge that gave verdicts.

        Rates are in percent. A row has ``run``, ``judge``, ``rubric``, ``group`` (also ``macro`` and
        ``micro``), ``value``, ``ci_low``, ``ci_high``, ``n``, ``n_total`` and ``complete``; that of a
        difference also ``run_b``, ``p`` and ``p_holm``.

        Raises:
            StbError: the runs cannot be scored or compared.
        """
        ...


def provider(name: str) -> Provider | None:
    """The provider of that name, or None where nothing is installed that computes scores."""
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS, name=name):
        found: Provider = entry.load()
        return found
    return None


@dataclass(frozen=True)
class Figure:
    """A picture of rows as SVG text, which loads nothing and runs nothing; in words what it shows."""

    name: str
    title: str
    caption: str
    svg: str


class Drawer(Protocol):
    """Draws rows."""

    def __call__(
        self, scores: Sequence[Row], differences: Sequence[Row], *, dark: bool = False
    ) -> list[Figure]:
        """The pictures that these rows allow, for a light ground or a dark one.

        Raises:
            StbError: what draws is not installed.
        """
        ...


def drawer() -> Drawer | None:
    """What draws comparisons, or None where nothing is installed that does."""
    for entry in importlib.metadata.entry_points(group=DRAWING, name=COMPARISON):
        found: Drawer = entry.load()
        return found
    return None
