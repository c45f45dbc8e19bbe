"""The recorded call that is nearest to a missed one, and in what the arguments of the two differ.

Deterministic: the same miss against the same recordings has the same neighbour on any machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from rapidfuzz import fuzz, process

from stb_core.store import Store, schema
from stb_core.values import ApiRef, JsonObject

MAX_CANDIDATES = 2000
"""Recordings of one API that are compared, the first by key: this bounds the work that a miss can cause."""
MAX_TEXT = 2000
"""Characters of canonical JSON that are compared."""


@dataclass(frozen=True)
class Neighbour:
    """A recorded call; ``similarity`` in [0, 1] is the normalised indel similarity of the arguments."""

    key: str
    arguments: bytes
    similarity: float


def nearest(arguments: bytes, recorded: Sequence[tuple[str, bytes]]) -> Neighbour | None:
    """The recorded call with the most similar arguments; of equals the first by key.

    Args:
        arguments: canonical JSON of the missed call.
        recorded: (key, canonical JSON) of candidates, in any order.
    """
    ordered = sorted(recorded)
    texts = [_compared_text(candidate) for _, candidate in ordered]
    best = process.extractOne(_compared_text(arguments), texts, scorer=fuzz.ratio)
    if best is None:
        return None
    _, score, place = best
    key, neighbours_arguments = ordered[place]
    return Neighbour(key, neighbours_arguments, round(score / 100, 6))


def _compared_text(arguments: bytes) -> str:
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


def argument_differences(missed: JsonObject, recorded: JsonObject) -> list[dict[str, Any]]:
    """Arguments with different values, by name; an argument of only one call lacks the other's field."""
    differences: list[dict[str, Any]] = []
    for name in sorted(missed.keys() | recorded.keys()):
        sides = {"missed": missed, "recorded": recorded}
        values = {side: arguments[name] for side, arguments in sides.items() if name in arguments}
        if len(values) == 1 or _json(values["missed"]) != _json(values["recorded"]):
            differences.append({"argument": name, **values})
    return differences


def describe_differences(differences: list[dict[str, Any]]) -> str:
    """Differences in a line: ``limit 5 → 10, +lang="en", -page=1``, from the recorded to the missed call."""
    parts: list[str] = []
    for difference in differences:
        name = difference["argument"]
        if "recorded" not in difference:
            parts.append(f"+{name}={_json(difference['missed'])}")
        elif "missed" not in difference:
            parts.append(f"-{name}={_json(difference['recorded'])}")
        else:
            parts.append(f"{name} {_json(difference['recorded'])} → {_json(difference['missed'])}")
    return ", ".join(parts)


def _json(value: Any) -> str:
    """JSON of a value; unlike ``==`` it tells 1 from 1.0 and from true."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
