"""The solvability filter: several models vote on each query, the majority decides, votes are kept.

A query is kept if more than half of the models find it solvable: the request is valid and complete, and
the tools are sufficient (arXiv:2403.07714, section 3.2). Votes are kept in the verdict log of a run named
``solvability-<dataset>``, so no vote is paid for twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import orjson

from stb_core.llm import Model, Spending
from stb_core.store import Dataset, Store
from stb_core.usage import Price
from stb_core.values import ApiRef, Judgement, Manifest, Query, Status, Verdict, content_hash
from stb_core.values.verdicts import SOLVABLE
from stb_evaluator.judges.ask import ReplyForm
from stb_evaluator.judges.ask_many import JudgingTally, judge_missing
from stb_evaluator.judges.forecast import Allowance, VerdictForecast, forecast_verdicts
from stb_evaluator.judges.judge import RubricJudge
from stb_evaluator.judges.quoting import shorten
from stb_evaluator.judges.replies import SOLVABILITY_SCHEMA, read_solvability
from stb_evaluator.judges.rubrics import Rubric

MODE = "solvability"
VOTE = ReplyForm("vote", SOLVABILITY_SCHEMA, read_solvability)


@dataclass(frozen=True)
class SolvabilityTask:
    """A query with the documents of its APIs, as a voter sees them."""

    query: Query
    documents: str

    @property
    def hash(self) -> str:
        """SHA-256 of what is voted on."""
        return content_hash([self.query.text, self.documents])


@dataclass(frozen=True)
class Vote:
    """How the models voted on one query, by name, and what the majority decided; None if undecided."""

    query: Query
    votes: dict[str, Status]
    solvable: bool | None


class SolvabilityVoter(RubricJudge):
    """Votes on whether a query can be solved."""

    async def vote(self, task: SolvabilityTask) -> Judgement:
        """Ask once, about the query and the documents of its APIs."""
        limit = self._rubric.trajectory_limit
        pieces = {"request": task.query.text, "APIs": shorten(task.documents, limit)}
        return await self._ask("task", pieces, VOTE, 0)


async def load_solvability_tasks(
    store: Store, dataset: Dataset, groups: Sequence[str]
) -> list[SolvabilityTask]:
    """The queries of these groups, or of all groups if none is named."""
    queries = await store.datasets.queries(dataset.id, groups)
    documents: dict[ApiRef, dict[str, Any]] = {}
    for tool in await store.datasets.tools(dataset.id):
        for api in tool.api_list:
            ref = ApiRef(tool.category, tool.standard_name, api.standard_name)
            documents[ref] = {
                "tool": tool.tool_name,
                "api": api.name,
                "description": api.description,
                "required": [parameter.name for parameter in api.required_parameters],
                "optional": [parameter.name for parameter in api.optional_parameters],
            }
    return [
        SolvabilityTask(
            query, orjson.dumps([documents.get(ref, {"api": ref.api}) for ref in query.apis]).decode()
        )
        for query in queries
    ]


VoteJob = tuple[SolvabilityTask, Model]
"""A task, and the model that is to vote on it."""


async def collect_votes(
    store: Store,
    dataset: Dataset,
    tasks: Sequence[SolvabilityTask],
    models: Sequence[Model],
    rubric: Rubric,
    *,
    connections: int,
    allowances: Mapping[str, Allowance] | None = None,
    advance: Callable[[int, int], None] = lambda _done, _all: None,
) -> tuple[list[Vote], JudgingTally]:
    """Have every model vote on every task that it has not voted on yet, together with others that do the same.

    ``allowances`` say by the names of models what they may cost.
    """
    run = _run_of(dataset)
    manifest = Manifest(dataset=dataset.name, dataset_hash="", agent=MODE, mode=MODE)
    await store.runs.create(run, manifest, {})
    tally = JudgingTally()

    async def missing() -> list[VoteJob]:
        return await _missing_votes(store, run, tasks, models, rubric)

    def reserve(job: VoteJob) -> AbstractAsyncContextManager[Spending]:
        allowance = (allowances or {})[job[1].name]
        return allowance.reserve(SolvabilityVoter(job[1], rubric), _voting(job[0]))

    def verdict(job: VoteJob, judgement: Judgement) -> Verdict:
        task, model = job
        return Verdict.of(
            judgement,
            (task.query.group, task.query.query_id, 0),
            run=run,
            metric=SOLVABLE,
            judge=model.name,
            rubric=rubric.hash,
            number=0,
            answer_hash=task.hash,
        )

    await judge_missing(
        store,
        run,
        missing,
        lambda job: _voting(job[0])(SolvabilityVoter(job[1], rubric)),
        verdict,
        connections=connections,
        tally=tally,
        advance=advance,
        reserve=reserve if allowances else None,
    )
    known = await _known(store, run, tasks, models, rubric)
    return [_count(task, models, known) for task in tasks], tally


async def forecast_votes(
    store: Store,
    dataset: Dataset,
    tasks: Sequence[SolvabilityTask],
    models: Sequence[Model],
    rubric: Rubric,
    prices: Mapping[str, Price | None],
) -> list[tuple[str, VerdictForecast]]:
    """What ``collect_votes`` would ask each model, by its name, and what that would cost; asks no one."""
    jobs = await _missing_votes(store, _run_of(dataset), tasks, models, rubric)
    return [
        (
            model.name,
            await forecast_verdicts(
                store,
                SolvabilityVoter(model, rubric),
                SOLVABLE,
                [_voting(task) for task, voter in jobs if voter is model],
                prices[model.name],
            ),
        )
        for model in models
    ]


def _run_of(dataset: Dataset) -> str:
    return f"{MODE}-{dataset.name}"


def _voting(task: SolvabilityTask) -> Callable[[SolvabilityVoter], Awaitable[Judgement]]:
    return lambda voter: voter.vote(task)


async def _missing_votes(
    store: Store, run: str, tasks: Sequence[SolvabilityTask], models: Sequence[Model], rubric: Rubric
) -> list[VoteJob]:
    known = await _known(store, run, tasks, models, rubric)
    return [(task, model) for model in models for task in tasks if (task.hash, model.name) not in known]


async def _known(
    store: Store, run: str, tasks: Sequence[SolvabilityTask], models: Sequence[Model], rubric: Rubric
) -> dict[tuple[str, str], Status]:
    """The first readable vote of each model on each task."""
    found: dict[tuple[str, str], Status] = {}
    for model in models:
        for verdict in await store.verdicts.by_answers(
            [task.hash for task in tasks], metric=SOLVABLE, judge=model.name, rubric=rubric.hash, own=[run]
        ):
            if verdict.status is not Status.ERROR:
                found.setdefault((verdict.answer_hash, model.name), verdict.status)
    return found


def _count(task: SolvabilityTask, models: Sequence[Model], known: dict[tuple[str, str], Status]) -> Vote:
    votes = {m.name: known[task.hash, m.name] for m in models if (task.hash, m.name) in known}
    in_favour = sum(status is Status.SOLVED for status in votes.values())
    decided = len(votes) == len(models)
    return Vote(task.query, votes, 2 * in_favour > len(models) if decided else None)
