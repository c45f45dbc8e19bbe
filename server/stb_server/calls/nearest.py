"""The recorded call that is most like a missed one: same API, arguments compared as text.

Deterministic: the same miss against the same recordings has the same neighbour on any machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from rapidfuzz import fuzz, process

from stb_core.store import Store, schema
from stb_core.values.tools import ApiRef

MAX_CANDIDATES = 2000
"""Recordings of one API that are looked at, the first by key: bounds the work a miss can cause."""
MAX_TEXT = 2000
"""Characters of canonical JSON that are compared."""


@dataclass(frozen=True)
class Neighbour:
    """A recorded call; ``similarity`` in [0, 1] is the normalised indel similarity of the arguments."""

    key: str
    arguments: bytes
    similarity: float


def nearest(arguments: bytes, recorded: Sequence[tuple[str, bytes]]) -> Neighbour | None:
    """The recorded call whose arguments are most alike; of equals the first by key.

    Args:
        arguments: canonical JSON of the missed call.
        recorded: (key, canonical JSON) of candidates, in any order.
    """
    ordered = sorted(recorded)
    texts = [_text(candidate) for _, candidate in ordered]
    best = process.extractOne(_text(arguments), texts, scorer=fuzz.ratio)
    if best is None:
        return None
    _, score, place = best
    key, found = ordered[place]
    return Neighbour(key, found, round(score / 100, 6))


def _text(arguments: bytes) -> str:
    return arguments.decode(errors="replace")[:MAX_TEXT]


async def recorded_arguments(store: Store, dataset_id: int, ref: ApiRef) -> list[tuple[str, bytes]]:
    """(key, canonical arguments) of an API's recordings, up to ``MAX_CANDIDATES``."""
    r = schema.responses.c
    async with store.reading() as connection:
        rows = await connection.execute(
            sa.select(r.key, r.arguments)
            .where(
                r.dataset_id == dataset_id,
                r.category == ref.category,
                r.tool == ref.tool,
                r.api == ref.api,
                r.superseded_at.is_(None),
            )
            .order_by(r.key)
            .limit(MAX_CANDIDATES)
        )
        return [(row.key, row.arguments) for row in rows]
