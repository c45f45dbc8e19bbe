"""Waiting before the next attempt: exponential, jittered, obedient to Retry-After, bounded."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stb_core.llm.retries import Patience, Retries, retry_after_s


@given(st.integers(), st.integers(1, 30))
def test_waits_stay_under_a_ceiling_that_doubles(seed: int, failures: int) -> None:
    """The n-th wait is at most first_wait_s · 2ⁿ⁻¹, and never more than longest_wait_s."""
    retries = Retries(Patience(first_wait_s=1, longest_wait_s=20), random.Random(seed), clock=lambda: 0.0)

    waits = [retries.next_wait_s() for _ in range(failures)]

    assert all(wait is not None and 0 <= wait <= min(20, 2**n) for n, wait in enumerate(waits))


def test_the_same_seed_gives_the_same_waits() -> None:
    """Jitter is seeded."""
    rows = [[Retries(Patience(), random.Random(7)).next_wait_s() for _ in range(3)] for _ in range(2)]

    assert rows[0] == rows[1]


def test_a_longer_retry_after_is_obeyed() -> None:
    """The wait is never shorter than the server requests."""
    wait = Retries(Patience(longest_wait_s=1), random.Random(0)).next_wait_s(45.0)

    assert wait is not None
    assert 45.0 <= wait <= 45.5


def test_a_wait_beyond_the_deadline_ends_it() -> None:
    """Nobody sleeps past the deadline."""
    assert Retries(Patience(deadline_s=10), random.Random(0)).next_wait_s(60.0) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        ("0.25", 0.25),
        ("Tue, 24 Nov 2026 12:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float | None) -> None:
    """RFC 9110, section 10.2.3; a date in the past means now, and an unreadable value is ignored."""
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)

    assert retry_after_s({"retry-after": header}, now) == seconds


def test_a_longer_timeout_leaves_time_for_as_many_attempts() -> None:
    """A shorter one keeps the deadline; none changes nothing."""
    patience = Patience(deadline_s=600, read_timeout_s=180)

    assert patience == patience.with_timeout(None)
    assert (360, 1200) == (patience.with_timeout(360).read_timeout_s, patience.with_timeout(360).deadline_s)
    assert (60, 600) == (patience.with_timeout(60).read_timeout_s, patience.with_timeout(60).deadline_s)
