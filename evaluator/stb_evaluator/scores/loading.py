"""What scoring reads from the store about a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from stb_core.store import Store
from stb_core.store.runs import Run
from stb_core.values.queries import Query
from stb_core.values.trajectories import Step, Trajectory
from stb_core.values.verdicts import SOPR
from stb_evaluator.judges.panel import Panel, majority_marks
from stb_evaluator.scores.verdict_table import Place, VerdictTable, build_verdict_table, gate_by_words


async def load_verdict_table(
    store: Store,
    run: Run,
    panel: Panel,
    *,
    rounds: int | None,
    metric: str = SOPR,
    worded: Mapping[Place, bool] | None = None,
) -> VerdictTable:
    """All that the scores of a run by one panel depend on; ``worded`` see ``VerdictTable``."""
    done = await store.runs.done(run.run)
    marks = majority_marks(
        [
            await store.verdicts.marks(run.run, metric=metric, judge=member.judge, rubric=member.rubric)
            for member in panel.members
        ]
    )
    return build_verdict_table(run.expected, run.trials, done, marks, rounds=rounds, worded=worded)


def unnamed(run: Run, trajectory: Trajectory) -> Trajectory:
    """An answer as a judge may see it: of an imported run the agent is the system's or the folder's name."""
    return trajectory.model_copy(update={"agent": ""}) if run.manifest.imported_from else trajectory


def is_worded(trajectory: Mapping[str, Any]) -> bool:
    """Whether the published code would take a trajectory, decoded from its JSON, for an answer."""
    steps = trajectory["steps"]
    return gate_by_words(Step.model_validate(steps[-1]) if steps else None)


async def dataset_queries(store: Store, run: Run) -> dict[tuple[str, str], Query]:
    """The queries of a run by (group, id): those that came with it, and of others what its dataset has.

    Empty when neither is here.
    """
    known: dict[tuple[str, str], Query] = {}
    for dataset in await store.datasets.all():
        if dataset.name == run.dataset:
            known = {(q.group, q.query_id): q for q in await store.datasets.queries(dataset.id)}
            # Changed since, or another of the same name: what has other words is not what was asked.
            if run.manifest.dataset_hash not in {"", dataset.content_hash}:
                asked = await _asked(store, run)
                known = {place: q for place, q in known.items() if asked.get(place, q.text) == q.text}
    return known | {(q.group, q.query_id): q for q in await store.runs.queries(run.run)}


async def _asked(store: Store, run: Run) -> dict[tuple[str, str], str]:
    """The text of every query that a run has an answer to."""
    answers = [orjson.loads(document) async for document in store.runs.documents(run.run)]
    return {(answer["group"], answer["query_id"]): answer["query"] for answer in answers}
