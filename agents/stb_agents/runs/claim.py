"""Which trials of a run are left, and the queue from which this process takes them, beside others that do the same."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack

from stb_core.cli import console
from stb_core.store import ClaimQueue, Store, WorkPlace, open_queue
from stb_core.store.work import TRIAL
from stb_core.values import Query, StopReason, TrialPlace


async def trials_left(store: Store, run: str, queries: Sequence[Query], trials: int) -> list[TrialPlace]:
    """The trials without a result: the first trial of all queries, then the second of all, and so on."""
    places = [(query.group, query.query_id, trial) for trial in range(trials) for query in queries]
    ended = await _ended(store, run)
    return [place for place in places if place not in ended]


async def _ended(store: Store, run: str) -> set[TrialPlace]:
    """The trials with a result; those that were lost to infrastructure have none."""
    return {
        (trial.group, trial.query_id, trial.trial)
        for trial in await store.runs.done(run)
        if trial.stop is not StopReason.INFRASTRUCTURE
    }


async def claim_trials(
    store: Store, run: str, left: Sequence[TrialPlace], slots: int, stack: AsyncExitStack
) -> ClaimQueue:
    """The queue of the trials that are left; says so where other processes are doing them already.

    Args:
        store: where the run is.
        run: its id.
        left: the trials that had no result when the log was read, in their order.
        slots: concurrent trials of this process.
        stack: gives back at its end what was claimed and is not done.

    Raises:
        StoreError: the store cannot be read or written.
    """
    place = WorkPlace(run, TRIAL)
    items = {item_of(trial): position for position, trial in enumerate(left)}

    async def still_left() -> Collection[str]:
        return items.keys() - {item_of(trial) for trial in await _ended(store, run)}

    if imported := await store.work.left(place) - items.keys():
        await store.work.close(place, imported)
    queue = await stack.enter_async_context(open_queue(store.work, place, items, still_left, slots=slots))
    if queue.others:
        n = len(queue.others)
        said = "another process does trials" if n == 1 else f"{n} other processes do trials"
        console.print_note(f"Joining the run {run}: {said} of it already.")
    return queue


def item_of(place: TrialPlace) -> str:
    """How a trial is called as a piece of work."""
    return json.dumps(place, ensure_ascii=False, separators=(",", ":"))


def place_of(item: str) -> TrialPlace:
    """The trial that is called so."""
    group, query_id, trial = json.loads(item)
    return group, query_id, trial
