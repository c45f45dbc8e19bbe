"""The gate limits what is in flight, yields to refusals, and loses nobody's turn."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from stb_core.llm.concurrency import Gate


async def test_no_more_than_the_limit_are_inside() -> None:
    """And all get through."""
    gate, inside, seen = Gate(3), 0, []

    async def pass_through() -> None:
        nonlocal inside
        async with gate:
            inside += 1
            seen.append(inside)
            await asyncio.sleep(0.001)
            inside -= 1

    await asyncio.gather(*(pass_through() for _ in range(20)))

    assert (len(seen), max(seen)) == (20, 3)


def test_a_storm_narrows_the_gate_and_calm_widens_it() -> None:
    """To one at the least, and back to where it began."""
    gate = Gate(64)

    for _ in range(1000):
        gate.note(refused=True)
    narrowed = gate.allowed
    for _ in range(1000):
        gate.note(refused=False)

    assert (narrowed, gate.allowed) == (1, 64)


def test_a_few_refusals_change_nothing() -> None:
    """One in twenty is each request's own affair."""
    gate = Gate(16)

    for number in range(1000):
        gate.note(refused=number % 20 == 0)

    assert gate.allowed == 16


@given(st.lists(st.booleans(), max_size=300), st.integers(1, 100))
def test_the_gate_is_never_shut_nor_wider_than_it_was(answers: list[bool], limit: int) -> None:
    """Whatever the endpoint says."""
    gate = Gate(limit)

    for refused in answers:
        gate.note(refused=refused)
        assert 1 <= gate.allowed <= limit


async def test_whoever_stops_waiting_gives_up_no_ones_turn() -> None:
    """Cancelled while waiting, or just when its turn had come."""
    gate = Gate(1)

    async def wait() -> None:
        async with gate:
            pass

    async with gate:
        second, third, fourth = (asyncio.create_task(wait()) for _ in range(3))
        await asyncio.sleep(0)
        second.cancel()  # while it waits
    third.cancel()  # its turn has come, and it does not know yet
    await asyncio.wait_for(fourth, 60)

    assert (second.cancelled(), third.cancelled()) == (True, True)
