"""Adds what an import format read to the store: new things are added, existing ones stay or are updated.

Tools and queries are written in one transaction, responses in batches. An import that was killed leaves
whole batches; the same import again adds the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from stb_core.store import Response, Store, bulk
from stb_core.store.nulls_in_keys import renew_keys
from stb_core.values import Query, Recording, ToolDocument
from stb_core.values.recordings import RecordingRow
from stb_server.datasets.content_hash import contents_hash, query_hash, tool_hash
from stb_server.datasets.import_report import Conflict, Gap, SkippedFile
from stb_server.datasets.nulls import NullRemover, unique
from stb_server.datasets.query_files import QueryFiles
from stb_server.datasets.response_files import RecordingBatch
from stb_server.datasets.tool_files import ToolName, derive_tools, keep_derived_apis


@dataclass
class ImportCounts:
    """How many things of one kind were found, and what they changed in the dataset."""

    found: int = 0
    added: int = 0
    changed: int = 0


@dataclass
class DatasetImport:
    """What an import found and did."""

    dataset: str
    tools: ImportCounts = field(default_factory=ImportCounts)
    apis: ImportCounts = field(default_factory=ImportCounts)
    queries: ImportCounts = field(default_factory=ImportCounts)
    responses: ImportCounts = field(default_factory=ImportCounts)
    skipped: list[SkippedFile] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)

    @property
    def parts(self) -> dict[str, ImportCounts]:
        """The four kinds, by name."""
        return {
            "tools": self.tools,
            "apis": self.apis,
            "queries": self.queries,
            "responses": self.responses,
        }

    @property
    def is_change(self) -> bool:
        """Whether the import changed the dataset."""
        return any(part.added or part.changed for part in self.parts.values())


class Importer:
    """One import into one dataset; formats add what they read to it.

    Args:
        store: where the dataset is.
        result: what the import did so far; names the dataset, which is created if needed.
        source: where the data comes from, kept with the dataset.
        advance: called with (what is being read, how many are done, how many there are).
    """

    def __init__(
        self,
        store: Store,
        result: DatasetImport,
        source: str,
        advance: Callable[[str, int, int], None],
    ) -> None:
        self.store = store
        self.result = result
        self.advance = advance
        self._source = source

    async def add_documents(self, tools: dict[ToolName, ToolDocument], queries: QueryFiles) -> None:
        """Add tools, queries, and the tools that only the queries describe."""
        datasets, result = self.store.datasets, self.result
        async with self.store.writing() as connection:
            # From here on other imports into this dataset wait, so what is read now does not change.
            dataset_id = await datasets.put(connection, result.dataset, source=self._source)
            old_tools = {(t.category, t.standard_name): t for t in await datasets.tools(dataset_id)}
            old_queries = {(q.group, q.query_id): q for q in await datasets.queries(dataset_id)}
            tools = {
                name: keep_derived_apis(tool, old_tools[name]) if name in old_tools else tool
                for name, tool in tools.items()
            }
            derived, skipped = derive_tools(queries.embedded, old_tools | tools)
            result.skipped += skipped
            new_tools = tools | derived
            new_queries = {(q.group, q.query_id): q for group in queries.groups.values() for q in group}
            changed_tools = _compare_tools(old_tools, new_tools, result)
            changed_groups = _compare_queries(old_queries, queries.groups, result)
            await datasets.put_tools(connection, dataset_id, changed_tools)
            if changed_tools:  # recordings may have come before the documents
                result.conflicts += [
                    Conflict("/".join(one.api), one.kept.decode(), one.dropped.decode(), one.same_body)
                    for one in await connection.run_sync(renew_keys, dataset_id)
                ]
            for group in changed_groups:
                await datasets.put_queries(connection, dataset_id, queries.groups[group])
            value = contents_hash((old_tools | new_tools).values(), (old_queries | new_queries).values())
            await datasets.set_content_hash(connection, dataset_id, value)

    async def add_responses(self, batch: RecordingBatch) -> None:
        """Add responses in one transaction; a call that the dataset already answers keeps its answer."""
        result = self.result
        result.conflicts += batch.conflicts
        if not batch.rows:
            return
        async with self.store.writing() as connection:
            dataset_id = await self.store.datasets.put(connection, result.dataset, source=self._source)
            same, changed = await NullRemover(self.store, dataset_id).split(batch.rows)
            fingerprint = None if changed else batch.fingerprint
            existing = await bulk.add_responses(self.store, connection, dataset_id, same, fingerprint)
            self._count(same, existing)
            changed, pairs = unique(changed)
            result.conflicts += [
                Conflict(
                    _api_name(row), kept.arguments.decode(), row.arguments.decode(), kept.body == row.body
                )
                for kept, row in pairs
            ]
            existing = await bulk.add_responses(self.store, connection, dataset_id, changed)
            self._count(changed, existing)

    def _count(self, rows: Sequence[RecordingRow], existing: Mapping[str, Response]) -> None:
        """Count rows that were to be added, of which some calls had an answer already."""
        result = self.result
        result.responses.found += len(rows)
        result.responses.added += len(rows) - len(existing)
        for row in map(Recording._make, rows if existing else ()):
            old = existing.get(row.key)
            if old is not None and (old.body, old.provenance) != (row.body, row.provenance):
                kept = f"what {result.dataset} holds already ({old.provenance})"
                result.conflicts.append(
                    Conflict(_api_name(row), kept, row.arguments.decode(), old.body == row.body)
                )


def _api_name(row: Recording) -> str:
    return f"{row.category}/{row.tool}/{row.api}"


class ImportSource(Protocol):
    """What one import format found in a folder."""

    async def import_into(self, importer: Importer) -> bool:
        """Read and add all of it; returns False if there was nothing to read."""
        ...


def _compare_tools(
    old: Mapping[ToolName, ToolDocument], new: Mapping[ToolName, ToolDocument], result: DatasetImport
) -> list[ToolDocument]:
    """Count tools and APIs; returns the tools that have to be written."""
    changed: list[ToolDocument] = []
    for name, tool in new.items():
        before = old.get(name)
        old_apis = {api.standard_name: api for api in before.api_list} if before else {}
        result.tools.found += 1
        result.apis.found += len(tool.api_list)
        result.apis.added += sum(api.standard_name not in old_apis for api in tool.api_list)
        result.apis.changed += sum(
            api.standard_name in old_apis and old_apis[api.standard_name] != api for api in tool.api_list
        )
        if before is None:
            result.tools.added += 1
        elif tool_hash(before) != tool_hash(tool):
            result.tools.changed += 1
        else:
            continue
        changed.append(tool)
    return changed


def _compare_queries(
    old: Mapping[tuple[str, str], Query], groups: Mapping[str, list[Query]], result: DatasetImport
) -> list[str]:
    """Count queries; returns the groups that have to be written."""
    hashes = {name: query_hash(query) for name, query in old.items()}
    changed: list[str] = []
    for group, queries in groups.items():
        added = sum((group, query.query_id) not in hashes for query in queries)
        same = sum(hashes.get((group, query.query_id)) == query_hash(query) for query in queries)
        result.queries.found += len(queries)
        result.queries.added += added
        result.queries.changed += len(queries) - added - same
        if same < len(queries):
            changed.append(group)
    return changed
