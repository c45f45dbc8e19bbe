"""Scores, headlines, differences and figures for pages, computed by installed plugins once for each state.

They are computed in a thread with its own connection, so that calls of agents do not wait.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from stb_core import plugins
from stb_core.errors import StbError, StoreError
from stb_core.plugins import Figure, ScoreRow
from stb_core.store import Store, open_store
from stb_server.inspector.verdicts import NOBODY, JudgeName

_KEPT = 256
_KEPT_FIGURES = 32
_TOTALS = frozenset({"macro", "micro"})

_T = TypeVar("_T")
_Provider: TypeAlias = Callable[[Store, Sequence[str]], Awaitable[_T]]


@dataclass(frozen=True, slots=True)
class Whisker:
    """A value with its interval on a scale from 0 to 100, for a drawing; ``value`` may be None."""

    label: str
    value: float | None
    low: float
    high: float
    row: ScoreRow

    @property
    def is_total(self) -> bool:
        """Whether it is a total over groups."""
        return self.row["group"] in _TOTALS


class Standings:
    """Cache of scores, headlines, differences and figures, and of those that are being computed."""

    def __init__(self, patience_s: float = 1.5) -> None:
        self._patience_s = patience_s
        self._kept: OrderedDict[tuple[str, ...], asyncio.Task[Any]] = OrderedDict()
        self._figures: OrderedDict[tuple[str, ...], list[Figure]] = OrderedDict()
        self._turn = asyncio.Lock()

    def soon(self) -> float:
        """The time until which a page waits for a result, on the monotonic clock."""
        return time.monotonic() + self._patience_s

    async def scores(self, store: Store, run: str, state: str, *, until: float) -> list[ScoreRow] | None:
        """The score rows of a run in a state; empty if no plugin computes them.

        Returns None if they are not ready at ``until`` on the monotonic clock; then ask again later.
        """
        return await self._of(store, plugins.SCORES, [run], state, until)

    async def differences(
        self, store: Store, runs: Sequence[str], state: str, *, until: float
    ) -> list[ScoreRow] | None:
        """The rows for every pair of runs; None as in ``scores``.

        Raises:
            StbError: they cannot be compared.
        """
        return await self._of(store, plugins.DIFFERENCES, runs, state, until)

    async def figures(
        self, scores: Sequence[ScoreRow], differences: Sequence[ScoreRow], state: Sequence[str], *, dark: bool
    ) -> list[Figure]:
        """The figures of these rows, which ``state`` identifies; empty if no plugin draws them."""
        drawer = plugins.find_figure_drawer()
        if drawer is None:
            return []
        key = (*state, "dark" if dark else "light")
        async with self._turn:
            if key not in self._figures:
                try:
                    drawn = await asyncio.to_thread(drawer, scores, differences, dark=dark)
                except StbError:
                    return []
                self._figures[key] = drawn
                while len(self._figures) > _KEPT_FIGURES:
                    self._figures.popitem(last=False)
            return self._figures[key]

    async def headlines(self, store: Store, run: str, state: str, *, until: float) -> list[str] | None:
        """The headlines of a run in a state; None as in ``scores``, empty if no plugin writes them."""
        source = plugins.find_headlines()
        if source is None:
            return []
        found = await self._soon(("headlines", state, run), source, store, [run], until)
        return None if found is None else found[run]

    async def _of(
        self, store: Store, name: str, runs: Sequence[str], state: str, until: float
    ) -> list[ScoreRow] | None:
        provider = plugins.find_scores(name)
        if provider is None:
            return []
        return await self._soon((name, state, *runs), provider, store, runs, until)

    async def _soon(
        self, key: tuple[str, ...], provider: _Provider[_T], store: Store, runs: Sequence[str], until: float
    ) -> _T | None:
        """What a plugin gives for runs, computed once for a key; None if it is not ready at ``until``."""
        task: asyncio.Task[_T] | None = self._kept.get(key)
        if task is None or (task.done() and isinstance(task.exception(), StoreError)):
            task = self._kept[key] = asyncio.create_task(self._compute(provider, store, runs))
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        await asyncio.wait({task}, timeout=max(0.0, until - time.monotonic()))
        return task.result() if task.done() else None

    async def _compute(self, provider: _Provider[_T], store: Store, runs: Sequence[str]) -> _T:
        async with self._turn:  # one at a time, to leave processors to agents' calls
            return await asyncio.to_thread(asyncio.run, _compute(provider, store, runs))


async def _compute(provider: _Provider[_T], store: Store, runs: Sequence[str]) -> _T:
    own = await open_store(store.engine.url.render_as_string(hide_password=False), migrate=False)
    try:
        return await provider(own, runs)
    finally:
        await own.close()


def select_rows(rows: Sequence[ScoreRow], judge: JudgeName) -> list[ScoreRow]:
    """The rows of one judge, and those of runs in which no answer needs one."""
    return [row for row in rows if JudgeName(row["judge"], row["rubric"]) in {judge, NOBODY}]


def draw_whiskers(rows: Sequence[ScoreRow], label: str, *, reach: float = 0) -> list[Whisker]:
    """Rows as drawings. With a ``reach`` the scale goes from ``-reach`` to ``reach``."""

    def place(value: float | None) -> float | None:
        return value if value is None or not reach else 50 + 50 * value / reach

    drawings = []
    for row in rows:
        value, low, high = (place(row[name]) for name in ("value", "ci_low", "ci_high"))
        if value is None:
            drawings.append(Whisker(str(row[label]), None, 0, 0, row))
        else:
            drawings.append(
                Whisker(
                    str(row[label]),
                    round(value, 2),
                    round(value if low is None else low, 2),
                    round(value if high is None else high, 2),
                    row,
                )
            )
    return drawings


def choose_reach(rows: Sequence[ScoreRow]) -> float:
    """The limit of a symmetric scale that fits all intervals: a round number of points."""
    ends = [
        abs(row[name]) for row in rows for name in ("ci_low", "ci_high", "value") if row[name] is not None
    ]
    return next((size for size in (5, 10, 20, 50) if size >= max(ends, default=0)), 100)
