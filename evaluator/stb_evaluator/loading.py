"""What scoring reads from the store about a run."""

from __future__ import annotations

from stb_core.queries import Query
from stb_core.store import Store
from stb_core.store.runs import Run
from stb_evaluator.scores import METRIC, Sheet, sheet_of


async def load_sheet(store: Store, run: Run, *, judge: str, rubric: str, rounds: int | None) -> Sheet:
    """All that the scores of a run by one judge and rubric depend on."""
    done = await store.runs.done(run.run)
    marks = await store.verdicts.marks(run.run, metric=METRIC, judge=judge, rubric=rubric)
    return sheet_of(run.expected, run.trials, done, marks, rounds=rounds)


async def dataset_queries(store: Store, run: Run) -> dict[tuple[str, str], Query]:
    """The queries of a run's dataset by (group, id); empty when the dataset is not here."""
    for dataset in await store.datasets.all():
        if dataset.name == run.dataset:
            return {(q.group, q.query_id): q for q in await store.datasets.queries(dataset.id)}
    return {}
