"""A bundle brought into the store, beside whatever of the same run is there."""

from __future__ import annotations

from dataclasses import dataclass

from stb_core.errors import ConflictError
from stb_core.store import Store
from stb_core.trajectories import StopReason
from stb_evaluator.bundles import Bundle


@dataclass(frozen=True)
class Merged:
    """What became of a bundle."""

    run: str
    dataset: str
    queries: int
    verdicts: int
    new_queries: int
    new_verdicts: int


async def merge_bundle(store: Store, bundle: Bundle, name: str = "") -> Merged:
    """Add what the store lacks of the bundle's run; the same bundle again adds nothing.

    A trial that infrastructure spoiled has no answer: the one that another bundle or the store has is kept.

    Raises:
        ConflictError: a run of that name has other settings, or another answer to the same trial.
    """
    run = name or bundle.run
    there = {r.run: r for r in await store.runs.all()}.get(run)
    if there is not None and there.manifest.hash != bundle.manifest.hash:
        raise ConflictError(
            f"A run {run!r} exists with other settings than the bundle's.", hint="Choose a name with --name."
        )
    held = {(d.group, d.query_id, d.trial): d for d in await store.runs.done(run)}
    places = {(t.group, t.query_id, t.trial): t for t in bundle.trajectories}
    new = []
    for place, trajectory in places.items():
        if place not in held:
            new.append(trajectory)
        elif trajectory.stop is StopReason.INFRASTRUCTURE:
            continue
        elif held[place].stop is StopReason.INFRASTRUCTURE:
            new.append(trajectory)
        elif held[place].content_hash != trajectory.content_hash:
            raise ConflictError(
                f"The run {run!r} has another answer to {place[0]}/{place[1]} than the bundle.",
                hint="Nothing was changed. Choose a name with --name.",
            )
    await store.runs.create(run, bundle.manifest, bundle.expected, name or bundle.name)
    await store.runs.expect(run, bundle.expected)
    await store.runs.put_queries(run, bundle.queries)
    await store.runs.put_trajectories(run, new)
    known = {v.model_dump_json() for v in await store.verdicts.of_run(run, metric="")}
    verdicts = [verdict.model_copy(update={"run": run}) for verdict in bundle.verdicts]
    unknown = [verdict for verdict in verdicts if verdict.model_dump_json() not in known]
    await store.verdicts.append(unknown)
    return Merged(run, bundle.manifest.dataset, len(places), len(verdicts), len(new), len(unknown))
