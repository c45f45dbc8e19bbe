"""Shielded tasks run to their end, whatever becomes of those who wait."""

from __future__ import annotations

import asyncio

from stb_core.store.shielded import ShieldedTasks


async def test_work_is_finished_when_its_caller_is_cancelled() -> None:
    """Cancelling the wait does not stop the work."""
    tasks, go, done = ShieldedTasks(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go.wait()
        done.set()

    caller = asyncio.create_task(tasks.finish(work()))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    go.set()
    await tasks.wait_until_done()

    assert caller.cancelled()
    assert done.is_set()


async def test_closing_cancels_what_takes_too_long() -> None:
    """What is done in time is finished, the rest is cancelled."""
    tasks = ShieldedTasks()
    short = tasks.begin(asyncio.sleep(0, "done"))
    endless = tasks.begin(asyncio.sleep(3600))

    await tasks.close(timeout_s=0.01)

    assert endless.cancelled()
    assert "done" == await short


async def test_an_error_that_nobody_waits_for_is_dropped() -> None:
    """The task is forgotten; the next wait ends."""
    tasks = ShieldedTasks()

    async def fail() -> None:
        raise ValueError

    tasks.begin(fail())

    await tasks.wait_until_done()
