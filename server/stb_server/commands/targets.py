"""What people name on a command line: a dataset, the beginning of a key, an age."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from stb_core.errors import NotFoundError, UsageError
from stb_core.store import Dataset, Store, browsing

_AGE = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

_HEXADECIMAL = re.compile(r"[0-9a-f]{1,64}")
_MOST_NAMED = 5


async def find_response(store: Store, prefix: str, dataset: str) -> tuple[Dataset, str]:
    """The dataset and full key of the only response whose key starts with a prefix.

    Args:
        store: the store to search.
        prefix: the first digits of the key.
        dataset: the only dataset to search; all if empty.

    Raises:
        UsageError: no key can start like this, or several responses match.
        NotFoundError: no response matches.
    """
    prefix = prefix.lower()
    if not _HEXADECIMAL.fullmatch(prefix):
        raise UsageError(
            f"No key can start with {prefix!r}.", hint="Keys are hexadecimal; list them with: stb cache ls."
        )
    datasets = [await store.datasets.get(dataset)] if dataset else await store.datasets.all()
    matches = [
        (target, key)
        for target in datasets
        for key in await browsing.keys_like(store, target.id, prefix, limit=_MOST_NAMED)
    ]
    if not matches:
        raise NotFoundError(
            f"There is no response whose key starts with {prefix}.", hint="List them with: stb cache ls."
        )
    if len(matches) > 1:
        named = ", ".join(f"{key[: max(12, len(prefix) + 4)]} in {target.name}" for target, key in matches)
        raise UsageError(
            f"Several responses have keys that start with {prefix}: {named}.",
            hint="Give more digits, or the dataset with --dataset.",
        )
    return matches[0]


def time_before(now: str, age: str) -> str:
    """The time that is ``age`` before ``now``; both times are ISO 8601, the result with microseconds.

    Raises:
        UsageError: the age is not a number with a unit, or the time is earlier than year 1.
    """
    match = _AGE.fullmatch(age)
    if match is None:
        raise UsageError(
            f"{age!r} is not a valid age.", hint="Write a number and a unit: 90s, 30m, 12h, 7d or 4w."
        )
    try:
        before = datetime.fromisoformat(now) - timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        raise UsageError(f"{age!r} is earlier than year 1.", hint="Use a shorter age.") from None
    return before.isoformat(timespec="microseconds")
