"""Which queries of which dataset: ``DATASET[:GROUP,…]``, narrowed by a limit or by ids."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stb_core.errors import NotFoundError, UsageError
from stb_core.store.datasets import Dataset
from stb_core.values.functions import OfferedApi
from stb_core.values.queries import Query, group_order
from stb_core.values.tools import ApiRef, ToolDocument

if TYPE_CHECKING:
    from stb_core.store import Store


@dataclass(frozen=True)
class Selection:
    """The queries of a run, in order, and the documents of all APIs that they offer."""

    dataset: Dataset
    groups: tuple[str, ...]
    queries: tuple[Query, ...]
    apis: dict[ApiRef, OfferedApi]
    asked_for: dict[str, Any]
    """What was asked for, for the manifest."""

    @property
    def expected(self) -> dict[str, list[str]]:
        """Group → ids of its queries: what a complete run answers."""
        found: dict[str, list[str]] = {}
        for query in self.queries:
            found.setdefault(query.group, []).append(query.query_id)
        return found

    def offered(self, query: Query) -> list[OfferedApi]:
        """The APIs of a query; one without a document cannot be offered."""
        return [self.apis[ref] for ref in query.apis if ref in self.apis]


async def select(store: Store, spec: str, *, limit: int | None = None, ids: Sequence[str] = ()) -> Selection:
    """Read what is meant from the store.

    Args:
        store: where the dataset is.
        spec: ``DATASET`` or ``DATASET:GROUP,GROUP``.
        limit: the first so many queries of each group.
        ids: only the queries of these ids.

    Raises:
        NotFoundError: no such dataset, group or query.
        UsageError: the dataset has no queries.
    """
    name, _, wanted = spec.partition(":")
    dataset = await store.datasets.get(name)
    there = await store.datasets.queries(dataset.id)
    if not there:
        raise UsageError(
            f"The dataset {name!r} has no queries.", hint="Import a release with solvable_queries/."
        )
    groups = _groups(name, wanted, there)
    queries = [query for query in there if query.group in groups]
    if ids:
        queries = _with_ids(queries, ids)
    if limit is not None:
        queries = [query for group in groups for query in [q for q in queries if q.group == group][:limit]]
    named = {ref for query in queries for ref in query.apis}
    return Selection(
        dataset=dataset,
        groups=groups,
        queries=tuple(queries),
        apis=documents_of(await store.datasets.tools(dataset.id), named),
        asked_for={"groups": list(groups), "limit": limit, "ids": sorted(ids)},
    )


def _groups(dataset: str, wanted: str, there: Sequence[Query]) -> tuple[str, ...]:
    known = sorted({query.group for query in there}, key=group_order)
    # A name may hold what stands between names.
    asked = [wanted] if wanted in known else [group for group in re.split(r"[,\s]+", wanted) if group]
    for group in asked:
        if group not in known:
            raise NotFoundError(
                f"The dataset {dataset!r} has no group {group!r}.", hint=f"There are: {', '.join(known)}."
            )
    return tuple(group for group in known if not asked or group in asked)


def _with_ids(queries: Sequence[Query], ids: Sequence[str]) -> list[Query]:
    found = [query for query in queries if query.query_id in ids]
    missing = sorted(set(ids) - {query.query_id for query in found})
    if missing:
        raise NotFoundError(
            f"There is no query {', '.join(missing[:5])} among those asked for.",
            hint="Check --task-ids, and the groups after the dataset's name.",
        )
    return found


def documents_of(tools: Iterable[ToolDocument], wanted: Collection[ApiRef]) -> dict[ApiRef, OfferedApi]:
    """What is known about each of the APIs that are wanted."""
    found: dict[ApiRef, OfferedApi] = {}
    for tool in tools:
        for api in tool.api_list:
            ref = ApiRef(tool.category, tool.standard_name, api.standard_name)
            if ref in wanted:
                found[ref] = OfferedApi(ref, api, tool.tool_description)
    return found
