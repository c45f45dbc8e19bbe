"""What one package offers to another by entry points: scores, figures and sites of stored runs.

Packages beside each other do not import each other. A page that shows scores asks ``find_scores`` for
what computes them; a report that also writes pages asks ``find_site_writer``. Each is None where the
package that offers it is not installed.

| group | name | is |
|---|---|---|
| ``stabletoolbench.scores`` | ``scores`` | a ``ScoreSource``: the rows of ``stb score`` |
| ``stabletoolbench.scores`` | ``differences`` | a ``ScoreSource``: the rows of ``stb compare`` |
| ``stabletoolbench.scores`` | ``headlines`` | a ``HeadlineSource``: what to know before believing a score |
| ``stabletoolbench.figures`` | ``comparison`` | a ``FigureDrawer``: draws such rows as ``stb report`` does |
| ``stabletoolbench.sites`` | ``runs`` | a ``SiteWriter``: writes runs as a folder of pages |
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from stb_core.store import Store

SCORES = "scores"
DIFFERENCES = "differences"
_SCORE_GROUP = "stabletoolbench.scores"
_FIGURE_GROUP = "stabletoolbench.figures"
_SITE_GROUP = "stabletoolbench.sites"

ScoreRow: TypeAlias = dict[str, Any]


class ScoreSource(Protocol):
    """Computes rows from what the store holds; asks no judge anything."""

    async def __call__(self, store: Store, runs: Sequence[str]) -> list[ScoreRow]:
        """The rows of these runs, by every judge that gave verdicts; judge and rubric "" if no answer needs one.

        Rates are in percent. A row has ``run``, ``judge``, ``rubric``, ``group`` (also ``macro`` and
        ``micro``), ``value``, ``ci_low``, ``ci_high``, ``n``, ``n_total`` and ``complete``; the row of a
        difference also ``run_b``, ``p`` and ``p_holm``, and for ``macro`` ``place`` and ``place_b``: of either run
        ``rank``, ``rank_low`` and ``rank_high``, or why it is ``unranked``.

        Raises:
            StbError: the runs cannot be scored or compared.
        """
        ...


class HeadlineSource(Protocol):
    """Says of runs when their trials measured something else than the agent."""

    async def __call__(self, store: Store, runs: Sequence[str]) -> dict[str, list[str]]:
        """The sentences for each run, by its id; an empty list where its trials raise no doubt."""
        ...


@dataclass(frozen=True)
class Figure:
    """A picture of rows as SVG text without scripts or external resources; ``caption`` describes it."""

    name: str
    title: str
    caption: str
    svg: str


class FigureDrawer(Protocol):
    """Draws rows."""

    def __call__(
        self, scores: Sequence[ScoreRow], differences: Sequence[ScoreRow], *, dark: bool = False
    ) -> list[Figure]:
        """The pictures that these rows allow, for a light background or a dark one.

        Raises:
            StbError: the plotting library is not installed.
        """
        ...


@dataclass(frozen=True)
class WrittenSite:
    """What was written: ``first`` is the page to open, ``size`` is in bytes."""

    first: Path
    pages: int
    files: int
    size: int


class SiteWriter(Protocol):
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
    ) -> WrittenSite:
        """Write all pages of these runs into a folder that does not exist yet, or is empty.

        Args:
            store: where the runs are.
            runs: their ids.
            folder: made as a whole or not at all; an older site there is replaced if ``force``.
            title: heading of the first page; "" for a plain one.
            force: whether an older site may be replaced.
            advance: called with the number of files written and the number of all files.

        Raises:
            ConflictError: something else is in the folder.
            StoreError: the store cannot be read, or the folder cannot be written.
        """
        ...


def find_scores(name: str) -> ScoreSource | None:
    """What computes ``SCORES`` or ``DIFFERENCES``; None where nothing is installed that does."""
    source: ScoreSource | None = _load(_SCORE_GROUP, name)
    return source


def find_headlines() -> HeadlineSource | None:
    """What writes headlines of runs; None where nothing is installed that does."""
    source: HeadlineSource | None = _load(_SCORE_GROUP, "headlines")
    return source


def find_figure_drawer() -> FigureDrawer | None:
    """What draws comparisons; None where nothing is installed that does."""
    drawer: FigureDrawer | None = _load(_FIGURE_GROUP, "comparison")
    return drawer


def find_site_writer() -> SiteWriter | None:
    """What writes sites; None where nothing is installed that does."""
    writer: SiteWriter | None = _load(_SITE_GROUP, "runs")
    return writer


def _load(group: str, name: str) -> Any:
    for entry in importlib.metadata.entry_points(group=group, name=name):
        return entry.load()
    return None
