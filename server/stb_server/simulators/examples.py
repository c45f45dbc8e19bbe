"""Which recorded answers a simulator is shown: those of the same API to the most similar calls.

Only answers of the real API count, those of the call's snapshot or, without one, those recorded
before the server started: a model is never shown what a model made up, and the choice does not depend
on the calls made so far.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa
from rapidfuzz import fuzz

from stb_core import json_text
from stb_core.store import Dataset, Snapshot, Store, schema
from stb_core.values import Provenance, ToolCall
from stb_server.simulators.schemas import decode_response

REAL = (Provenance.RECORDED, Provenance.LIVE)
MAX_CANDIDATES = 2000
"""Recordings of one API that are compared, the first by key."""
MAX_TEXT = 2000
"""Characters of the arguments that are compared."""
MAX_APIS = 256
"""APIs whose recorded calls are kept in memory."""
MAX_REMEMBERED = 1024
"""Recorded answers that are kept in memory, decoded."""
CHARACTERS_PER_TOKEN = 4
"""For budgets only: JSON text usually has fewer tokens than this estimate."""


@dataclass(frozen=True)
class Candidate:
    """A recorded call; ``arguments`` is canonical JSON."""

    key: str
    arguments: bytes
    id: int = 0


@dataclass(frozen=True)
class Example:
    """A recorded call with its answer, shortened to be shown; ``response`` is decoded."""

    arguments: Any
    error: str
    response: Any

    @property
    def text(self) -> str:
        """One line of JSON."""
        return _encode({"arguments": self.arguments, "error": self.error, "response": self.response})


def most_similar(arguments: bytes, candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """The candidates with the most similar arguments, best first; of equals the first by key."""
    text = _compared(arguments)
    scored = [
        (-round(fuzz.ratio(text, _compared(candidate.arguments)), 6), candidate.key, candidate)
        for candidate in candidates
    ]
    return [candidate for _, _, candidate in sorted(scored, key=lambda item: item[:2])[:count]]


def _compared(arguments: bytes) -> str:
    return arguments.decode(errors="replace")[:MAX_TEXT]


def within_budget(examples: Sequence[Example], tokens: int) -> list[Example]:
    """As many of the first examples as fit, each shortened as far as needed."""
    kept: list[Example] = []
    left = tokens * CHARACTERS_PER_TOKEN
    for example in examples:
        for limits in _SHORTENINGS:
            short = Example(
                shorten(example.arguments, limits), example.error[:500], shorten(example.response, limits)
            )
            if len(short.text) <= left:
                kept.append(short)
                left -= len(short.text)
                break
    return kept


@dataclass(frozen=True)
class Shortening:
    """How much of a value is shown: entries of a list, characters of a text, levels."""

    entries: int
    characters: int
    depth: int


_SHORTENINGS = (Shortening(5, 1000, 12), Shortening(3, 300, 8), Shortening(2, 100, 6), Shortening(1, 60, 4))


def shorten(value: Any, limits: Shortening, depth: int = 0) -> Any:
    """The value with long lists and texts cut and deep parts left out; members of objects all stay."""
    if isinstance(value, str):
        return value if len(value) <= limits.characters else f"{value[: limits.characters]}…"
    if isinstance(value, list):
        if depth >= limits.depth:
            return []
        return [shorten(entry, limits, depth + 1) for entry in value[: limits.entries]]
    if isinstance(value, dict):
        if depth >= limits.depth:
            return {}
        return {name: shorten(member, limits, depth + 1) for name, member in value.items()}
    return value


_Place: TypeAlias = tuple[int, int, Snapshot | None, tuple[str, str, str]]


class RecordedExamples:
    """Reads recorded answers of real APIs from the store.

    Args:
        store: where they are.
        before: a moment as ``clock.now`` writes it; for calls without a snapshot, later recordings
            are ignored.
    """

    def __init__(self, store: Store, before: str) -> None:
        self._store = store
        self._before = before
        self._candidates: OrderedDict[_Place, list[Candidate]] = OrderedDict()
        self._shown: OrderedDict[int, Example] = OrderedDict()

    async def similar(
        self, dataset: Dataset, call: ToolCall, count: int, snapshot: Snapshot | None = None
    ) -> list[Example]:
        """The recorded answers to the calls most similar to this one, best first; never to this very call.

        Raises:
            StoreError: the store cannot be read.
        """
        candidates = await self._candidates_of(dataset, call, snapshot)
        others = [candidate for candidate in candidates if candidate.key != call.key]
        chosen = most_similar(call.canonical_arguments, others, count)
        unread = [candidate.id for candidate in chosen if candidate.id not in self._shown]
        found = await self._read(unread) if unread else {}
        examples = [self._shown.get(candidate.id) or found[candidate.id] for candidate in chosen]
        self._shown.update(found)
        while len(self._shown) > MAX_REMEMBERED:
            self._shown.popitem(last=False)
        return examples

    async def _candidates_of(
        self, dataset: Dataset, call: ToolCall, snapshot: Snapshot | None
    ) -> list[Candidate]:
        """Recorded calls of the same API; the set is frozen, so it is read once per state of the dataset."""
        place = dataset.id, dataset.changes, snapshot, (call.category, call.tool, call.api)
        known = self._candidates.get(place)
        if known is not None:
            self._candidates.move_to_end(place)
            return known
        r = schema.responses.c
        statement = (
            sa.select(r.id, r.key, r.arguments)
            .where(
                r.dataset_id == dataset.id,
                r.category == call.category,
                r.tool == call.tool,
                r.api == call.api,
                r.provenance.in_([provenance.value for provenance in REAL]),
                *self._visible(snapshot),
            )
            .order_by(r.key)
            .limit(MAX_CANDIDATES)
        )
        async with self._store.reading() as connection:
            rows = await connection.execute(statement)
            found = [Candidate(row.key, row.arguments, row.id) for row in rows]
        self._candidates[place] = found
        while len(self._candidates) > MAX_APIS:
            self._candidates.popitem(last=False)
        return found

    async def _read(self, ids: Sequence[int]) -> dict[int, Example]:
        r = schema.responses.c
        async with self._store.reading() as connection:
            rows = await connection.execute(sa.select(r.id, r.arguments, r.body).where(r.id.in_(ids)))
            return {row.id: example_of(row.arguments, row.body) for row in rows}

    def _visible(self, snapshot: Snapshot | None) -> tuple[sa.ColumnElement[bool], ...]:
        r = schema.responses.c
        if snapshot is None:
            return r.superseded_at.is_(None), r.created_at <= self._before
        in_force = sa.or_(r.superseded_in.is_(None), r.superseded_in > snapshot.changes)
        return r.id <= snapshot.last_id, in_force


def example_of(arguments: bytes, body: bytes) -> Example:
    """A recorded call and the exact bytes of its answer as an example."""
    answer = json_text.parse(body)
    return Example(
        json_text.parse(arguments), str(answer.get("error") or ""), decode_response(answer.get("response"))
    )


def _encode(value: Any) -> str:
    return json_text.encode(value).decode()
