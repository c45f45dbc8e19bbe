"""The dataset of an experiment, in memory, from where it is copied into any number of stores."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from stb_core.cli.store import choose_dataset
from stb_core.errors import NotFoundError
from stb_core.store import open_store
from stb_core.store.responses import Response
from stb_core.values.queries import Query
from stb_core.values.tools import ToolDocument


@dataclass(frozen=True)
class Original:
    """Tools, queries and the responses in force of one dataset, with its hashes."""

    name: str
    content_hash: str
    responses_hash: str
    tools: tuple[ToolDocument, ...]
    queries: tuple[Query, ...]
    responses: tuple[Response, ...]

    def of_groups(self, groups: str, limit: int | None = None) -> Original:
        """With the queries of these groups (names with commas; "" for all), the first ``limit`` of each.

        Raises:
            NotFoundError: there is no such group.
        """
        return replace(self, queries=tuple(of_groups(self.name, self.queries, groups, limit)))

    def shuffled(self, seed: int) -> Original:
        """With the queries in another order."""
        queries = list(self.queries)
        random.Random(seed).shuffle(queries)
        return replace(self, queries=tuple(queries))

    def knowing(self, is_kept: Callable[[Response], bool]) -> Original:
        """With a part of the responses."""
        return replace(self, responses=tuple(r for r in self.responses if is_kept(r)))


async def read_original(database_url: str, spec: str) -> Original:
    """Read ``DATASET`` or ``DATASET:GROUP,GROUP``; "" is the only dataset there is.

    Raises:
        NotFoundError: there is no such dataset or group.
        UsageError: none is named and there are several.
    """
    name, _, groups = spec.partition(":")
    store = await open_store(database_url)
    try:
        dataset = await choose_dataset(store, name)
        responses: list[Response] = []
        for ref in await store.responses.api_refs(dataset.id):
            responses += await store.responses.of_api(dataset.id, *ref)
        original = Original(
            name=dataset.name,
            content_hash=dataset.content_hash,
            responses_hash=dataset.responses_hash,
            tools=tuple(await store.datasets.tools(dataset.id)),
            queries=tuple(await store.datasets.queries(dataset.id)),
            responses=tuple(responses),
        )
    finally:
        await store.close()
    return original.of_groups(groups) if groups else original


def of_groups(dataset: str, queries: Sequence[Query], groups: str, limit: int | None = None) -> list[Query]:
    """The queries of these groups (names with commas; "" for all), the first ``limit`` of each.

    Raises:
        NotFoundError: the dataset has no such group.
    """
    there = {query.group for query in queries}
    wanted = {name for name in groups.replace(",", " ").split() if name} or there
    if unknown := sorted(wanted - there):
        raise NotFoundError(
            f"The dataset {dataset!r} has no group {unknown[0]!r}.",
            hint=f"There are: {', '.join(sorted(there))}.",
        )
    kept: list[Query] = []
    for group in dict.fromkeys(query.group for query in queries if query.group in wanted):
        kept += [query for query in queries if query.group == group][:limit]
    return kept


async def write_copy(original: Original, database_url: str) -> None:
    """Write a dataset into a store that is made for it.

    The copy has the hash of the original's tools and queries, though it may have fewer queries or
    another order of them; that of its responses is its own.
    """
    store = await open_store(database_url)
    try:
        dataset = await store.datasets.create(original.name, source="copy for an experiment")
        async with store.writing() as connection:
            await store.datasets.put_tools(connection, dataset.id, original.tools)
            await store.datasets.put_queries(connection, dataset.id, original.queries)
            await store.datasets.set_content_hash(connection, dataset.id, original.content_hash)
            await store.responses.keep_within(connection, dataset.id, original.responses)
    finally:
        await store.close()
