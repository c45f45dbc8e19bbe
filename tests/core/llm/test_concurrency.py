"""The limit holds, yields to refusals, and loses nobody's turn."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from stb_core.llm.concurrency import AdaptiveLimit


async def test_no_more_than_the_limit_are_inside() -> None:
    """And all get through."""
    limit, inside, seen = AdaptiveLimit(3), 0, []

    async def pass_through() -> None:
        nonlocal inside
        async with limit:
            inside += 1
            seen.append(inside)
            await asyncio.sleep(0.001)
            inside -= 1

    await asyncio.gather(*(pass_through() for _ in range(20)))

    assert (len(seen), max(seen)) == (20, 3)


def test_the_limit_falls_in_a_storm_and_rises_after_it() -> None:
    """Down to one, and back to where it began."""
    limit = AdaptiveLimit(64)

    for _ in range(1000):
        limit.count_answer(refused=True)
    in_storm = limit.allowed
    for _ in range(1000):
        limit.count_answer(refused=False)

    assert (in_storm, limit.allowed) == (1, 64)


def test_a_few_refusals_change_nothing() -> None:
    """One in twenty is left to the retries of each request."""
    limit = AdaptiveLimit(16)

    for number in range(1000):
        limit.count_answer(refused=number % 20 == 0)

    assert limit.allowed == 16


@given(st.lists(st.booleans(), max_size=300), st.integers(1, 100))
def test_at_least_one_and_at_most_the_maximum_are_allowed(answers: list[bool], maximum: int) -> None:
    """Whatever the endpoint says."""
    limit = AdaptiveLimit(maximum)

    for refused in answers:
        limit.count_answer(refused=refused)
        assert 1 <= limit.allowed <= maximum


async def test_a_cancelled_request_takes_nobodys_place() -> None:
    """Cancelled while waiting, or just when its turn had come."""
    limit = AdaptiveLimit(1)

    async def wait() -> None:
        async with limit:
            pass

    async with limit:
        second, third, fourth = (asyncio.create_task(wait()) for _ in range(3))
        await asyncio.sleep(0)
        second.cancel()  # while it waits
    third.cancel()  # its turn has come, and it does not know yet
    await asyncio.wait_for(fourth, 60)

    assert (second.cancelled(), third.cancelled()) == (True, True)


async def test_time_outs_lower_the_limit_for_good() -> None:
    """A third of the places halve it at once; those that were in flight before do not count again."""
    limit = AdaptiveLimit(16)
    for _ in range(16):
        await limit.__aenter__()

    for _ in range(16):
        limit.count_timeout()
        await limit.__aexit__()
    after_one_wave = limit.allowed
    for _ in range(1000):
        limit.count_answer(refused=False)

    assert (8, 8) == (after_one_wave, limit.allowed)


def test_rare_time_outs_change_nothing() -> None:
    """Fewer than a third of the places within a window."""
    limit = AdaptiveLimit(16)

    for _ in range(10):
        for _ in range(5):
            limit.count_timeout()
        for _ in range(32):
            limit.count_answer(refused=False)

    assert 16 == limit.allowed
