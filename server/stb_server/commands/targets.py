"""What a person means who names a dataset or a response in short."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from stb_core.errors import NotFoundError, UsageError
from stb_core.store import Store, browsing
from stb_core.store.datasets import Dataset

_AGE = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

_HEXADECIMAL = re.compile(r"[0-9a-f]{1,64}")
_MOST_NAMED = 5


async def chosen_response(store: Store, prefix: str, dataset: str) -> tuple[Dataset, str]:
    """The dataset and the whole key of the one response whose key begins so.

    Args:
        store: where to look.
        prefix: the first digits of the key.
        dataset: where to look alone; in all datasets if empty.

    Raises:
        UsageError: it is no key, or several responses fit.
        NotFoundError: none fits.
    """
    prefix = prefix.lower()
    if not _HEXADECIMAL.fullmatch(prefix):
        raise UsageError(
            f"{prefix!r} does not begin a key.", hint="Keys are hexadecimal; see them with: stb cache ls."
        )
    datasets = [await store.datasets.get(dataset)] if dataset else await store.datasets.all()
    found = [
        (there, key)
        for there in datasets
        for key in await browsing.keys_like(store, there.id, prefix, limit=_MOST_NAMED)
    ]
    if not found:
        raise NotFoundError(
            f"There is no response whose key begins with {prefix}.", hint="See them with: stb cache ls."
        )
    if len(found) > 1:
        named = ", ".join(f"{key[: max(12, len(prefix) + 4)]} in {there.name}" for there, key in found)
        raise UsageError(
            f"Several responses have keys that begin with {prefix}: {named}.",
            hint="Give more digits, or the dataset with --dataset.",
        )
    return found[0]


def moment(now: str, age: str) -> str:
    """The moment that long before ``now``, in the form of ``now``: ISO 8601 with microseconds.

    Raises:
        UsageError: the age is not a number with a unit, or leads before the calendar.
    """
    match = _AGE.fullmatch(age)
    if match is None:
        raise UsageError(
            f"{age!r} is not an age.", hint="Write a number and a unit: 90s, 30m, 12h, 7d or 4w."
        )
    try:
        before = datetime.fromisoformat(now) - timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        raise UsageError(f"{age!r} is longer ago than the calendar goes.", hint="Write less.") from None
    return before.isoformat(timespec="microseconds")
