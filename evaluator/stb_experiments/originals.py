"""The dataset of an experiment, read into memory and copied from there into the store of each bench."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from stb_core.cli.store import choose_dataset
from stb_core.errors import NotFoundError
from stb_core.store import Response, open_store
from stb_core.values import Query, ToolDocument


@dataclass(frozen=True)
class Original:
    """Tools, queries and current responses of one dataset, with its hashes."""

    name: str
    content_hash: str
    responses_hash: str
    tools: tuple[ToolDocument, ...]
    queries: tuple[Query, ...]
    responses: tuple[Response, ...]

    def with_groups(self, groups: str, limit: int | None = None) -> Original:
        """The dataset with only the queries of these groups, the first ``limit`` of each.

        Args:
            groups: names, separated by commas; "" for all.
            limit: None for all queries of a group.

        Raises:
            NotFoundError: there is no such group.
        """
        return replace(self, queries=tuple(queries_of_groups(self.name, self.queries, groups, limit)))

    def shuffled(self, seed: int) -> Original:
        """The dataset with its queries in another order."""
        queries = list(self.queries)
        random.Random(seed).shuffle(queries)
        return replace(self, queries=tuple(queries))

    def with_responses(self, is_kept: Callable[[Response], bool]) -> Original:
        """The dataset with only the responses that ``is_kept`` accepts."""
        return replace(self, responses=tuple(r for r in self.responses if is_kept(r)))


async def read_original(database_url: str, spec: str) -> Original:
    """Read a dataset from a store.

    Args:
        database_url: of the store.
        spec: ``DATASET`` or ``DATASET:GROUP,GROUP``; "" for the only dataset in the store.

    Raises:
        NotFoundError: there is no such dataset or group.
        UsageError: no dataset is named, and there are several.
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
    return original.with_groups(groups) if groups else original


def queries_of_groups(
    dataset: str, queries: Sequence[Query], groups: str, limit: int | None = None
) -> list[Query]:
    """The queries of these groups, the first ``limit`` of each.

    Args:
        dataset: its name, for the message.
        queries: of the dataset.
        groups: names, separated by commas; "" for all.
        limit: None for all queries of a group.

    Raises:
        NotFoundError: the dataset has no such group.
    """
    known = {query.group for query in queries}
    named = {name for name in groups.replace(",", " ").split() if name} or known
    if unknown := sorted(named - known):
        raise NotFoundError(
            f"The dataset {dataset!r} has no group {unknown[0]!r}.",
            hint=f"There are: {', '.join(sorted(known))}.",
        )
    kept: list[Query] = []
    for group in dict.fromkeys(query.group for query in queries if query.group in named):
        kept += [query for query in queries if query.group == group][:limit]
    return kept


async def write_copy(original: Original, database_url: str) -> None:
    """Create a store with a copy of a dataset.

    The copy keeps the original's hash of tools and queries, though it may have fewer queries or another order
    of them. The hash of its responses is computed anew.

    Raises:
        StoreError: the store cannot be written.
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
