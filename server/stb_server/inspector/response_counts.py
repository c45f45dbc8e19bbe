"""How many responses each API has, by provenance: counted once for each state of a dataset.

A count reads all responses. For a large dataset it is made in the background, and pages show the last one
with its time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from stb_core.errors import StoreError
from stb_core.store import Dataset, Store, schema
from stb_core.values import ApiRef, Provenance, clock

_log = logging.getLogger(__name__)

_PATIENCE_S = 1.5
"""Seconds that a page waits for a count before it shows the last one, or none."""
_REST = 20
"""A count is not repeated before this many times its own duration has passed."""


@dataclass(frozen=True, slots=True)
class ApiCount:
    """One API with its responses in force, by provenance."""

    ref: ApiRef
    counts: Counter[str]

    @property
    def total(self) -> int:
        """The number of all responses."""
        return self.counts.total()


@dataclass(frozen=True)
class ResponseCounts:
    """The count of one dataset in one state; ``apis`` in the order of the store's index."""

    state: str
    counted_at: str
    took_s: float
    finished: float
    apis: tuple[ApiCount, ...]

    def total(self) -> Counter[str]:
        """All responses by provenance, in the order of ``Provenance``."""
        return _sum(self.apis)

    def children(self, category: str = "", tool: str = "") -> dict[str, tuple[Counter[str], int]]:
        """The categories, or the tools of a category, or the APIs of a tool: counts, and how many APIs."""
        members_by_name: dict[str, list[ApiCount]] = {}
        for api in self.apis:
            ref = api.ref
            if (category and ref.category != category) or (tool and ref.tool != tool):
                continue
            name = ref.api if tool else ref.tool if category else ref.category
            members_by_name.setdefault(name, []).append(api)
        return {name: (_sum(members), len(members)) for name, members in members_by_name.items()}

    def select(self, fits: Callable[[ApiCount], bool]) -> list[tuple[ApiRef, ApiRef]]:
        """The first and last API of each range of the index in which all APIs fit."""
        ranges: list[tuple[ApiRef, ApiRef]] = []
        first = last = None
        for api in self.apis:
            if fits(api):
                first, last = first or api.ref, api.ref
            elif first and last:
                ranges.append((first, last))
                first = last = None
        if first and last:
            ranges.append((first, last))
        return ranges


def _sum(apis: Iterable[ApiCount]) -> Counter[str]:
    total: Counter[str] = Counter({provenance.value: 0 for provenance in Provenance})
    for api in apis:
        total.update(api.counts)
    return +total


class ResponseCounter:
    """The last count of every dataset."""

    def __init__(self) -> None:
        self._last: dict[int, ResponseCounts] = {}
        self._counting: dict[int, asyncio.Task[ResponseCounts]] = {}

    async def get(self, store: Store, dataset: Dataset) -> tuple[ResponseCounts | None, bool]:
        """The last count, and whether it is up to date; None while the first count is made."""
        last = self._last.get(dataset.id)
        state = _describe_state(dataset)
        if last and last.state == state:
            return last, True
        if last and time.monotonic() < last.finished + _REST * last.took_s:
            return last, False
        task = self._counting.get(dataset.id)
        if task is None or task.done():
            task = self._counting[dataset.id] = asyncio.create_task(self._count(store, dataset, state))
            task.add_done_callback(_log_failure)
        done, _ = await asyncio.wait({task}, timeout=_PATIENCE_S)
        if done:
            return task.result(), True
        return last, False

    async def close(self) -> None:
        """Stop counting."""
        for task in self._counting.values():
            task.cancel()
        await asyncio.gather(*self._counting.values(), return_exceptions=True)

    async def _count(self, store: Store, dataset: Dataset, state: str) -> ResponseCounts:
        started = time.monotonic()
        apis = await _count_apis(store, dataset.id)
        finished = time.monotonic()
        tally = ResponseCounts(state, clock.now(), finished - started, finished, apis)
        self._last[dataset.id] = tally
        return tally


def _describe_state(dataset: Dataset) -> str:
    return f"{dataset.created_at} {dataset.changes} {dataset.responses_hash}"


def _log_failure(task: asyncio.Task[ResponseCounts]) -> None:
    if not task.cancelled() and isinstance(problem := task.exception(), StoreError):
        _log.warning("responses could not be counted", extra={"reason": str(problem)})


async def _count_apis(store: Store, dataset_id: int) -> tuple[ApiCount, ...]:
    """Count from the index of names alone, which has all that is needed."""
    r = schema.responses.c
    names = (r.category, r.tool, r.api)
    provenances = [provenance.value for provenance in Provenance]
    statement = (
        sa.select(
            *names,
            *(sa.func.sum(sa.case((r.provenance == value, 1), else_=0)) for value in provenances),
        )
        .where(r.dataset_id == dataset_id, r.superseded_at.is_(None))
        .group_by(*names)
        .order_by(*names)
    )
    async with store.reading() as connection:
        rows = await connection.execute(statement)
        return tuple(
            ApiCount(
                ApiRef(*row[:3]), Counter({v: n for v, n in zip(provenances, row[3:], strict=True) if n})
            )
            for row in rows
        )
