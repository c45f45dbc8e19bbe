"""Which recorded answers a simulator is shown: of the same API, to the calls most like the one asked.

Only answers of the real API count, recorded before the server started, so that what a model invents
never feeds it again and the choice does not depend on the calls made so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from rapidfuzz import fuzz

from stb_core import tables
from stb_core.provenance import Provenance
from stb_core.store import Store
from stb_core.tools import ApiRef
from stb_server import exact_json
from stb_server.simulators.schemas import decode_response

REAL = (Provenance.RECORDED, Provenance.LIVE)
MAX_CANDIDATES = 2000
"""Recordings of one API that are compared, the first by key."""
MAX_TEXT = 2000
"""Characters of the arguments that are compared."""
CHARACTERS_PER_TOKEN = 4
"""For budgets only: text of JSON has rather fewer tokens than this makes of it."""


@dataclass(frozen=True)
class Candidate:
    """A recorded call; ``arguments`` is canonical JSON."""

    key: str
    arguments: bytes


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
    """The candidates whose arguments are most alike, best first; of equals the first by key."""
    text = _compared(arguments)
    scored = [
        (-round(fuzz.ratio(text, _compared(candidate.arguments)), 6), candidate.key, candidate)
        for candidate in candidates
    ]
    return [candidate for _, _, candidate in sorted(scored, key=lambda item: item[:2])[:count]]


def _compared(arguments: bytes) -> str:
    return arguments.decode(errors="replace")[:MAX_TEXT]


def within_budget(examples: Sequence[Example], tokens: int) -> list[Example]:
    """As many of the first examples as fit, each after what of it can be left out has been left out."""
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
class Limits:
    """How much of a value is shown: entries of a list, characters of a text, levels."""

    entries: int
    characters: int
    depth: int


_SHORTENINGS = (Limits(5, 1000, 12), Limits(3, 300, 8), Limits(2, 100, 6), Limits(1, 60, 4))


def shorten(value: Any, limits: Limits, depth: int = 0) -> Any:
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


class Recordings:
    """Reads recorded answers of real APIs from the store.

    Args:
        store: where they are.
        before: a moment as ``clock.now`` writes it; later recordings are not looked at.
    """

    def __init__(self, store: Store, before: str) -> None:
        self._store = store
        self._before = before

    async def similar(
        self, dataset_id: int, ref: ApiRef, key: str, arguments: bytes, count: int
    ) -> list[Example]:
        """The recorded answers to the calls most like this one, best first; never to this very call.

        Raises:
            StoreError: the store cannot be read.
        """
        r = tables.responses.c
        there = (
            r.dataset_id == dataset_id,
            r.category == ref.category,
            r.tool == ref.tool,
            r.api == ref.api,
            r.superseded_at.is_(None),
            r.provenance.in_([provenance.value for provenance in REAL]),
            r.created_at <= self._before,
            r.key != key,
        )
        async with self._store.reading() as connection:
            rows = await connection.execute(
                sa.select(r.key, r.arguments).where(*there).order_by(r.key).limit(MAX_CANDIDATES)
            )
            chosen = most_similar(arguments, [Candidate(row.key, row.arguments) for row in rows], count)
            if not chosen:
                return []
            bodies = await connection.execute(
                sa.select(r.key, r.body).where(*there, r.key.in_([candidate.key for candidate in chosen]))
            )
            by_key = {row.key: row.body for row in bodies}
        return [example_of(c.arguments, by_key[c.key]) for c in chosen if c.key in by_key]


def example_of(arguments: bytes, body: bytes) -> Example:
    """A recorded call and the exact bytes of its answer as an example."""
    answer = exact_json.parse(body)
    return Example(
        exact_json.parse(arguments), str(answer.get("error") or ""), decode_response(answer.get("response"))
    )


def _encode(value: Any) -> str:
    return exact_json.encode(value).decode()
