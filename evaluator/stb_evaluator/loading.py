"""What scoring reads from the store about a run."""

from __future__ import annotations

import orjson

from stb_core.queries import Query
from stb_core.store import Store
from stb_core.store.runs import Run
from stb_core.trajectories import Step
from stb_evaluator.juries import Jury, vote
from stb_evaluator.scores import METRIC
from stb_evaluator.sheets import Place, Sheet, gate_by_words, sheet_of


async def load_sheet(
    store: Store,
    run: Run,
    jury: Jury,
    *,
    rounds: int | None,
    metric: str = METRIC,
    by_words: bool = False,
) -> Sheet:
    """All that the scores of a run by one jury depend on.

    ``by_words`` also looks for what the published code takes for an answer.
    """
    done = await store.runs.done(run.run)
    marks = vote(
        [
            await store.verdicts.marks(run.run, metric=metric, judge=member.judge, rubric=member.rubric)
            for member in jury.members
        ]
    )
    worded: dict[Place, bool] = {}
    if by_words:
        async for document in store.runs.documents(run.run):
            t = orjson.loads(document)
            last = Step.model_validate(t["steps"][-1]) if t["steps"] else None
            worded[t["group"], t["query_id"], t["trial"]] = gate_by_words(last)
    return sheet_of(run.expected, run.trials, done, marks, rounds=rounds, worded=worded)


async def dataset_queries(store: Store, run: Run) -> dict[tuple[str, str], Query]:
    """The queries of a run's dataset by (group, id); empty when the dataset is not here."""
    for dataset in await store.datasets.all():
        if dataset.name == run.dataset:
            return {(q.group, q.query_id): q for q in await store.datasets.queries(dataset.id)}
    return {}
