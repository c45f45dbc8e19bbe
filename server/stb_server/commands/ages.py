"""Ages as people write them: ``90s``, ``30m``, ``12h``, ``7d``, ``4w``."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from stb_core.errors import UsageError

_AGE = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


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
