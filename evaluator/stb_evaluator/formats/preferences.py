"""``preference_results/<group>_<a>_<b>.json``: how many votes each of two systems won on a query."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from stb_core.errors import FormatError

KIND = "preference_results"

_ROUND = re.compile(r"round_\d+")


@dataclass(frozen=True)
class Votes:
    """Votes of two systems on the queries of a group: query id → (votes for first, votes for second)."""

    group: str
    first: str
    second: str
    by_query: dict[str, tuple[int, int]]


def is_record(value: Any) -> bool:
    """Whether a value has the form of such a record: two counts, and rounds that are complete."""
    if not isinstance(value, dict):
        return False
    counts = [name for name, count in value.items() if _is_count(count)]
    rounds = [name for name in value if _ROUND.fullmatch(name)]
    return len(counts) == 2 and len(counts) + len(rounds) == len(value)


def read_votes(document: dict[str, Any], stem: str) -> Votes:
    """The votes in a file named ``<stem>.json``.

    Raises:
        FormatError: records name different systems, or the file name does not begin with a group.
    """
    systems: list[tuple[str, str]] = []
    by_query: dict[str, tuple[int, int]] = {}
    for query_id, record in document.items():
        if not is_record(record):
            raise FormatError(f"query {query_id} has no votes for two systems")
        (first, one), (second, other) = ((n, c) for n, c in record.items() if _is_count(c))
        systems.append((first, second))
        by_query[query_id] = (one, other)
    if len(set(systems)) != 1:
        raise FormatError("its records name different systems")
    first, second = systems[0]
    for ending in (f"_{first}_{second}", f"_{second}_{first}"):
        if stem.endswith(ending):
            return Votes(stem.removesuffix(ending), first, second, by_query)
    raise FormatError(f"its name is not GROUP_{first}_{second}.json")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
