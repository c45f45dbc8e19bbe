"""A host is asked as much as it may be, and left alone when it is broken or asks for it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stb_server.upstream.host_state import MAX_PAUSE_S, Breaker, HostGate, HostLimits
from stb_server.upstream.values import UpstreamError

LIMITS = HostLimits(breaker_failures=3, breaker_reset_s=10)


def after(outcomes: str, now: float = 0.0) -> Breaker:
    """The state after calls that failed (x) or went well (o)."""
    breaker = Breaker()
    for outcome in outcomes:
        breaker = (breaker.admit(now) or breaker).after(failed=outcome == "x", now=now, limits=LIMITS)
    return breaker


def test_failures_in_a_row_open_the_breaker() -> None:
    """Three of them, not three in all."""
    assert after("xxoxx").admit(1) is not None
    assert after("xxx").admit(1) is None


def test_one_call_tries_an_open_breaker_after_its_time() -> None:
    """The next waits for its outcome: a success closes the breaker, a failure opens it again."""
    trial = after("xxx").admit(10)
    assert trial is not None

    assert trial.admit(10) is None
    assert Breaker() == trial.after(failed=False, now=11, limits=LIMITS)
    again = trial.after(failed=True, now=11, limits=LIMITS)
    assert again.admit(20.9) is None
    assert again.admit(21) is not None


def test_a_trial_that_was_given_up_leaves_room_for_another() -> None:
    """A caller that goes away says nothing about the host."""
    trial = after("xxx").admit(10)
    assert trial is not None

    assert trial.withdrawn().admit(10) is not None


@given(st.text(alphabet="xo", max_size=30))
def test_a_breaker_is_open_after_a_run_of_failures_and_only_then(outcomes: str) -> None:
    """Whatever came before."""
    ends_in_failures = outcomes.endswith("xxx")

    assert ends_in_failures == (after(outcomes).admit(1) is None)


def gate(**limits: float) -> HostGate:
    return HostGate(HostLimits(**limits), asyncio.get_running_loop().time)  # type: ignore[arg-type]


def soon(seconds: float = 5) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_no_more_calls_are_under_way_than_may_be() -> None:
    """The others wait for a place."""
    host = gate(concurrency=3)
    now = most = 0

    async def call() -> None:
        nonlocal now, most
        async with host.admitted(soon()):
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.01)
            now -= 1

    await asyncio.gather(*(call() for _ in range(12)))

    assert 3 == most


async def test_no_more_calls_begin_in_a_second_than_may() -> None:
    """They are spread evenly."""
    host = gate(concurrency=100, per_second=50)
    starts: list[float] = []

    async def call() -> None:
        async with host.admitted(soon()):
            starts.append(asyncio.get_running_loop().time())

    await asyncio.gather(*(call() for _ in range(6)))

    assert starts[-1] - starts[0] >= 0.095


async def test_a_call_whose_turn_comes_too_late_is_refused_at_once() -> None:
    """It does not wait for nothing."""
    host = gate(per_second=0.01)
    async with host.admitted(soon()):
        pass

    with pytest.raises(UpstreamError) as caught:
        async with host.admitted(soon()):
            pass

    assert "busy" == caught.value.kind


async def test_a_call_without_a_place_in_time_is_refused() -> None:
    """By its deadline."""
    host = gate(concurrency=1)

    with pytest.raises(UpstreamError) as caught:
        async with host.admitted(soon()), host.admitted(soon(0.05)):
            pass

    assert "busy" == caught.value.kind


async def test_a_pause_is_kept_by_all_calls() -> None:
    """Those that can wait for its end wait, the others are refused."""
    host = gate()
    host.pause(0.1)
    before = asyncio.get_running_loop().time()

    with pytest.raises(UpstreamError):
        async with host.admitted(soon(0.05)):
            pass
    async with host.admitted(soon()):
        waited = asyncio.get_running_loop().time() - before

    assert waited >= 0.095


async def test_no_pause_is_endless() -> None:
    """A host that asks for a century gets some minutes."""
    host = gate()

    host.pause(1e9)

    with pytest.raises(UpstreamError):
        async with host.admitted(soon(MAX_PAUSE_S - 1)):
            pass


async def test_only_trouble_of_the_host_opens_the_breaker() -> None:
    """A call that does not suit the API, or that was cancelled, does not count."""
    host = gate(breaker_failures=1)
    for problem in (UpstreamError("too_large", ""), asyncio.CancelledError()):
        with pytest.raises(type(problem)):
            async with host.admitted(soon()):
                raise problem
    async with host.admitted(soon()):
        pass

    with pytest.raises(UpstreamError):
        async with host.admitted(soon()):
            raise UpstreamError("unreachable", "")
    with pytest.raises(UpstreamError) as caught:
        async with host.admitted(soon()):
            pass

    assert "circuit_open" == caught.value.kind
