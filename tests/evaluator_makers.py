"""Small runs, trajectories and verdicts for tests of the evaluator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from stb_core.store import Store, open_store
from stb_core.store.runs import Run, StoredTrial
from stb_core.store.verdicts import Mark
from stb_core.values.manifest import Manifest
from stb_core.values.queries import Query
from stb_core.values.trajectories import Step, StopReason, Trajectory
from stb_core.values.verdicts import Status

LETTERS = {
    "s": Status.SOLVED,
    "u": Status.UNSURE,
    "n": Status.UNSOLVED,
    "e": Status.ERROR,
}
STOPS = {"g": StopReason.GAVE_UP, "f": StopReason.NO_FINISH, "i": StopReason.INFRASTRUCTURE}


def on_store(url: str, work: Callable[[Store], Awaitable[Any]]) -> Any:
    """Do something on a store, from a test that is no coroutine; what the work returns."""

    async def run() -> Any:
        store = await open_store(url)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def trajectory(
    query_id: str = "1",
    *,
    answer: str = "It is 4217.",
    query: str = "",
    group: str = "G1_tool",
    trial: int = 0,
    observation: str = '{"error": "", "response": {"value": 4217}}',
    stop: StopReason = StopReason.ANSWERED,
    steps: Sequence[Step] | None = None,
) -> Trajectory:
    """One answered trajectory with one call, unless the test says otherwise."""
    made = (
        Step(function="f_for_t", arguments="{}", observation=observation, category="C", tool="t", api="f"),
        *_finish(answer, stop),
    )
    return Trajectory(
        group=group,
        query_id=query_id,
        query=query or f"What is number {query_id}?",
        trial=trial,
        agent="a",
        stop=stop,
        final_answer=answer if stop is StopReason.ANSWERED else "",
        steps=made if steps is None else tuple(steps),
    )


def _finish(answer: str, stop: StopReason) -> list[Step]:
    if stop is StopReason.ANSWERED:
        arguments = {"return_type": "give_answer", "final_answer": answer}
    elif stop is StopReason.GAVE_UP:
        arguments = {"return_type": "give_up_and_restart"}
    else:
        return []
    return [Step(function="Finish", arguments=json.dumps(arguments))]


def log(answers: Mapping[str, str], group: str = "G1_tool") -> tuple[list[StoredTrial], list[Mark]]:
    """Answers and marks from letters, one string a query: ``{"1": "ssn", "2": "g"}``.

    s solved, u unsure, n unsolved, e judge error, one letter a round (``.`` none yet); g gave up,
    f did not finish, i infrastructure.
    """
    done: list[StoredTrial] = []
    marks: list[Mark] = []
    for query_id, letters in answers.items():
        stop = STOPS.get(letters, StopReason.ANSWERED)
        answer_hash = "" if letters in STOPS else f"hash {query_id}"
        done.append(StoredTrial(group, query_id, 0, 0, stop, answer_hash=answer_hash))
        marks += [
            Mark(group, query_id, 0, number, LETTERS[letter], answer_hash)
            for number, letter in enumerate(letters)
            if letter in LETTERS and letters not in STOPS
        ]
    return done, marks


async def make_run(
    store: Store,
    trajectories: Iterable[Trajectory],
    *,
    run: str = "r",
    expected: dict[str, list[str]] | None = None,
    trials: int = 1,
    dataset: str = "d",
    brought: bool = False,
) -> Run:
    """A run in the store with these trajectories, and their queries where its dataset is not there."""
    made = list(trajectories)
    ids: dict[str, list[str]] = {}
    for one in made:
        if one.query_id not in ids.setdefault(one.group, []):
            ids[one.group].append(one.query_id)
    manifest = Manifest(dataset=dataset, dataset_hash="", agent=run, trials=trials)
    created = await store.runs.create(run, manifest, expected or ids, brought=brought)
    if dataset not in {one.name for one in await store.datasets.all()}:
        await store.runs.put_queries(run, [query_of(one) for one in made])
    await store.runs.put_trajectories(run, made)
    return created


def query_of(trajectory: Trajectory) -> Query:
    """What it answers; which APIs that needs is not said."""
    return Query(query_id=trajectory.query_id, group=trajectory.group, text=trajectory.query, apis=())
