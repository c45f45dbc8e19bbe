"""How long to wait before asking an endpoint again, and when to stop asking."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from stb_core.usage import Usage


@dataclass(frozen=True)
class Patience:
    """How long a failing endpoint is retried, and the timeouts of one request."""

    deadline_s: float = 600.0
    """From the first attempt of a request to the last, through overload and outages."""
    connect_timeout_s: float = 10.0
    """For opening a connection."""
    read_timeout_s: float = 180.0
    """For a complete response."""
    first_wait_s: float = 0.5
    """The longest wait after the first failure; doubled after each further one."""
    longest_wait_s: float = 30.0
    """The longest wait that we choose; a longer Retry-After is obeyed."""

    def with_timeout(self, timeout_s: float | None) -> Patience:
        """The same with another timeout for a response, and with time for as many attempts; None changes nothing."""
        if timeout_s is None:
            return self
        deadline_s = self.deadline_s * max(1.0, timeout_s / self.read_timeout_s)
        return replace(self, read_timeout_s=timeout_s, deadline_s=deadline_s)


DEFAULT_PATIENCE = Patience()


class Failures:
    """How often a request has failed, and why the last time, for a caller that stops it before it gives up."""

    def __init__(self) -> None:
        self.count = 0
        self.last = ""

    def __str__(self) -> str:
        last = f"; the last: {self.last.rstrip('.')}" if self.last else ""
        return f"failed attempts: {self.count}{last}."


_counted: ContextVar[Failures | None] = ContextVar("_counted", default=None)


@contextmanager
def counting_failures() -> Generator[Failures]:
    """Count the failures of the one request that is made within the block."""
    failures = Failures()
    before = _counted.set(failures)
    try:
        yield failures
    finally:
        _counted.reset(before)


class Retries:
    """The retries of one request: exponential back-off with full jitter; Retry-After is obeyed."""

    def __init__(
        self, patience: Patience, rng: random.Random, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience = patience
        self._rng = rng
        self._clock = clock
        self._end = clock() + patience.deadline_s
        self.failures = 0
        self.unreadable = 0
        """Responses that were not a completion; each may have been paid for."""
        self.lost = Usage()
        """What requests that timed out have consumed at least."""

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline."""
        return self._end - self._clock()

    def next_wait_s(self, retry_after_s: float | None = None, *, reason: str = "") -> float | None:
        """Count a failure; return the seconds to wait before the next attempt, None when it is too late.

        Args:
            retry_after_s: the wait that the server requests.
            reason: of the failure, in words.
        """
        self.failures += 1
        if counted := _counted.get():
            counted.count += 1
            counted.last = reason
        ceiling = min(self._patience.longest_wait_s, self._patience.first_wait_s * 2 ** (self.failures - 1))
        wait = self._rng.uniform(0, ceiling)
        if retry_after_s is not None:
            # A little longer than requested, so that waiting clients do not come back all at once.
            wait = retry_after_s + min(wait, self._patience.first_wait_s)
        return wait if wait < self.remaining_s else None


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The wait that a server requests, in seconds (RFC 9110, section 10.2.3); None without a request."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    return seconds if 0 <= seconds < float("inf") else 0.0 if seconds < 0 else None
