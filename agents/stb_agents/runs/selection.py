"""Which queries of which dataset a run answers: ``DATASET[:GROUP,…]``, narrowed by a limit or by ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stb_core.errors import NotFoundError, UsageError
from stb_core.store import Dataset
from stb_core.values import ApiRef, Query
from stb_core.values.functions import OfferedApi, find_offered_apis

if TYPE_CHECKING:
    from stb_core.store import Store


@dataclass(frozen=True)
class Selection:
    """The queries of a run, in order, and the documents of all APIs that they offer."""

    dataset: Dataset
    groups: tuple[str, ...]
    queries: tuple[Query, ...]
    expected: dict[str, list[str]]
    """Group → ids of its queries: what a complete run answers."""
    apis: dict[ApiRef, OfferedApi]
    asked_for: dict[str, Any]
    """The groups, the limit and the ids as the user named them, for the manifest."""

    def offered(self, query: Query) -> list[OfferedApi]:
        """The APIs of a query; one without a document cannot be offered."""
        return [self.apis[ref] for ref in query.apis if ref in self.apis]


async def select_queries(
    store: Store, spec: str, *, limit: int | None = None, ids: Sequence[str] = ()
) -> Selection:
    """Read the queries that are named from the store.

    Args:
        store: where the dataset is.
        spec: ``DATASET`` or ``DATASET:GROUP,GROUP``.
        limit: only the first queries of each group, this many.
        ids: only the queries with these ids; empty for all.

    Raises:
        NotFoundError: no such dataset, group or query.
        UsageError: the dataset has no queries.
    """
    name, _, group_names = spec.partition(":")
    dataset = await store.datasets.get(name)
    queries = await store.datasets.queries(dataset.id)
    tools = await store.datasets.tools(dataset.id) if queries else []
    groups, queries = _narrow(name, queries, group_names, ids, limit)
    expected: dict[str, list[str]] = {group: [] for group in groups}
    for query in queries:
        expected[query.group].append(query.query_id)
    return Selection(
        dataset=dataset,
        groups=groups,
        queries=tuple(queries),
        expected={group: query_ids for group, query_ids in expected.items() if query_ids},
        apis=find_offered_apis(tools, {ref for query in queries for ref in query.apis}),
        asked_for={"groups": list(groups), "limit": limit, "ids": sorted(ids)},
    )


def _narrow(
    dataset: str, queries: Sequence[Query], group_names: str, ids: Sequence[str], limit: int | None
) -> tuple[tuple[str, ...], list[Query]]:
    """The groups that are named, and their queries, as far as ids and limit allow."""
    if not queries:
        raise UsageError(
            f"The dataset {dataset!r} has no queries.", hint="Import a release with solvable_queries/."
        )
    groups = _named_groups(dataset, group_names, list(dict.fromkeys(query.group for query in queries)))
    chosen = [query for query in queries if query.group in groups]
    if ids:
        chosen = _with_ids(chosen, ids)
    if limit is not None:
        chosen = [query for group in groups for query in [q for q in chosen if q.group == group][:limit]]
    return groups, chosen


def _named_groups(dataset: str, names: str, known: Sequence[str]) -> tuple[str, ...]:
    """The groups that are named, in the order of the dataset; all where none is."""
    # The name of a group may itself hold a comma or a space.
    named = [names] if names in known else [group for group in re.split(r"[,\s]+", names) if group]
    for group in named:
        if group not in known:
            raise NotFoundError(
                f"The dataset {dataset!r} has no group {group!r}.", hint=f"There are: {', '.join(known)}."
            )
    return tuple(group for group in known if not named or group in named)


def _with_ids(queries: Sequence[Query], ids: Sequence[str]) -> list[Query]:
    chosen = [query for query in queries if query.query_id in ids]
    missing = sorted(set(ids) - {query.query_id for query in chosen})
    if missing:
        raise NotFoundError(
            f"There is no query {', '.join(missing[:5])} among those asked for.",
            hint="Check --task-ids, and the groups after the dataset's name.",
        )
    return chosen
