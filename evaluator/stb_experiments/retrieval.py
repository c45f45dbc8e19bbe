"""``retrieval``: how many of the APIs that a query needs are among the first k that a retriever finds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stb_core.errors import UsageError
from stb_core.retrieval import Retriever
from stb_core.store import Dataset
from stb_core.values import Query, group_order
from stb_evaluator.scores import MACRO
from stb_evaluator.statistics import design_of, mean_interval, sum_in_order
from stb_experiments.output import ExperimentRow, Result

LIMITS = (
    "The APIs that a query needs are those that its authors named. Others may serve as well, and count as wrong here.",
    "A model wrote the queries from the documents of their APIs, so they share words with them.",
    "BM25 has its usual parameters; stemming was chosen after a look at StableToolBench's queries.",
)
RECALL, NDCG = "recall", "ndcg"
_TITLES = {
    RECALL: "Recall at k: share of the APIs that a query needs among the first k, %",
    NDCG: "NDCG at k: the same, and the earlier the better, %",
}


@dataclass(frozen=True)
class RetrievalOutcome:
    """One query: how many APIs it needs, and the ranks (from 1) at which they were found."""

    query: Query
    n_needed: int
    places: tuple[int, ...]

    def recall(self, k: int) -> float:
        """The share of the needed APIs among the first ``k``; in [0, 1]."""
        return sum(place <= k for place in self.places) / self.n_needed

    def ndcg(self, k: int) -> float:
        """Normalised discounted cumulative gain of the first ``k`` (Järvelin and Kekäläinen, 2002); in [0, 1]."""
        gain = sum_in_order(1 / math.log2(place + 1) for place in self.places if place <= k)
        return gain / sum_in_order(1 / math.log2(place + 1) for place in range(1, min(k, self.n_needed) + 1))


_MEASURES: dict[str, Callable[[RetrievalOutcome, int], float]] = {
    RECALL: RetrievalOutcome.recall,
    NDCG: RetrievalOutcome.ndcg,
}


async def measure_retrieval(
    dataset: Dataset,
    queries: Sequence[Query],
    n_apis: int,
    retrievers: Sequence[Retriever],
    *,
    ks: Sequence[int],
    seed: int = 0,
) -> Result:
    """Rank all APIs for each query that says what it needs, by each retriever.

    Args:
        dataset: whose queries they are.
        queries: of the dataset; those that do not say what they need are left out.
        n_apis: number of APIs that are searched.
        retrievers: over the dataset's APIs.
        ks: numbers of first APIs that are counted.
        seed: of the bootstrap.

    Raises:
        UsageError: no query says what it needs.
        ModelUnavailableError: an embedding's endpoint does not answer.
    """
    answerable = [query for query in queries if query.relevant_apis]
    if not answerable:
        raise UsageError(
            f"No query of {dataset.name!r} says which APIs it needs.",
            hint="Import queries with relevant APIs.",
        )
    rows: list[ExperimentRow] = []
    data: list[ExperimentRow] = []
    for retriever in retrievers:
        found = await _find(retriever, answerable, max(ks))
        rows += _rows(retriever.name, found, ks, seed)
        data += [_datum(retriever.name, one) for one in found]
    needed = np.mean([len(query.relevant_apis) for query in answerable])
    named = np.mean([len(query.apis) for query in answerable])
    finding = (
        f"{len(answerable)} queries, each of which needs {needed:.1f} APIs and names {named:.1f} on average,"
        f" were asked of all {n_apis:,} APIs of the dataset. Intervals are at 95 %."
    )
    return Result(
        name="retrieval",
        title="Retrieving tools",
        rows=rows,
        shown=_wide(rows),
        tables={
            title: ("retriever", "group", "n", *(f"at_{k}:@{k}" for k in ks)) for title in _TITLES.values()
        },
        settings={
            "dataset": dataset.name,
            "dataset_hash": dataset.content_hash,
            "queries": len(answerable),
            "queries_without_needs": len(queries) - len(answerable),
            "apis": n_apis,
            "k": list(ks),
            "retrievers": [f"{one.name} {one.index_hash[:12]}" for one in retrievers],
            "seed": seed,
        },
        passed=True,
        says=(finding,),
        limits=LIMITS,
        data=data,
    )


async def _find(retriever: Retriever, queries: Sequence[Query], k: int) -> list[RetrievalOutcome]:
    ranks = await retriever.rank([query.text for query in queries], k)
    return [
        RetrievalOutcome(
            query,
            len(set(query.relevant_apis)),
            tuple(place for place, ref in enumerate(refs, 1) if ref in query.relevant_apis),
        )
        for query, refs in zip(queries, ranks, strict=True)
    ]


def _rows(
    retriever: str, found: Sequence[RetrievalOutcome], ks: Sequence[int], seed: int
) -> list[ExperimentRow]:
    """A row per measure, k and group; ``macro`` weights all groups equally."""
    by_group: dict[str, list[RetrievalOutcome]] = {}
    for one in sorted(found, key=lambda one: group_order(one.query.group)):
        by_group.setdefault(one.query.group, []).append(one)
    parts = {**by_group, MACRO: list(found)} if len(by_group) > 1 else by_group
    return [
        {
            "retriever": retriever,
            "metric": metric,
            "k": k,
            "group": group,
            "n": len(members),
            **_value([measure(one, k) for one in members], [one.query.group for one in members], seed),
        }
        for metric, measure in _MEASURES.items()
        for k in ks
        for group, members in parts.items()
    ]


def _value(scores: Sequence[float], groups: Sequence[str], seed: int) -> dict[str, Any]:
    """The mean of the groups' means with its interval, in percent."""
    mean = float(design_of(len(scores), groups=groups, weighting="macro").estimate(scores))
    interval = mean_interval(scores, groups=groups, seed=seed).around(mean).scaled(100)
    return {
        "value": 100 * mean,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "interval": interval.method,
    }


def _wide(rows: Sequence[ExperimentRow]) -> list[ExperimentRow]:
    """The rows for people: one line per group."""
    lines: dict[tuple[str, ...], ExperimentRow] = {}
    for row in rows:
        place = (row["metric"], row["retriever"], row["group"])
        line = {"table": _TITLES[row["metric"]], **{name: row[name] for name in ("retriever", "group", "n")}}
        cell = f"{row['value']:.1f} [{row['ci_low']:.1f}, {row['ci_high']:.1f}]"
        lines.setdefault(place, line)[f"at_{row['k']}"] = cell
    return list(lines.values())


def _datum(retriever: str, found: RetrievalOutcome) -> ExperimentRow:
    return {
        "retriever": retriever,
        "group": found.query.group,
        "query_id": found.query.query_id,
        "needed": found.n_needed,
        "places": list(found.places),
    }
