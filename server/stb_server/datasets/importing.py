"""Importing a release into the store: what is new is added, what is there already stays or is updated.

Tools and queries come in one transaction, responses in batches of some ten thousand. An import
that was killed leaves whole batches; the same import again adds the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from stb_core.errors import FormatError, UsageError
from stb_core.store import Store, bulk
from stb_core.values.queries import Query
from stb_core.values.recordings import Recording
from stb_core.values.tools import ToolDocument
from stb_server.datasets import transfer
from stb_server.datasets.content_hash import contents_hash, query_hash, tool_hash
from stb_server.datasets.dump_file import opened_dump
from stb_server.datasets.import_report import Conflict, Skipped
from stb_server.datasets.parallel_reading import read_in_batches
from stb_server.datasets.query_files import QueryFiles, read_queries
from stb_server.datasets.release import Release
from stb_server.datasets.response_files import Recordings
from stb_server.datasets.tool_files import ToolName, derive_tools, read_tools

# The store is written while the next rows are read: little at first, so that it soon has work.
_FIRST_ROWS = 2_500
_ROWS_AT_ONCE = 20_000


@dataclass
class Part:
    """How many of a kind the release holds, and what that changed in the dataset."""

    found: int = 0
    added: int = 0
    changed: int = 0


@dataclass
class Imported:
    """What an import found and did."""

    dataset: str
    tools: Part = field(default_factory=Part)
    apis: Part = field(default_factory=Part)
    queries: Part = field(default_factory=Part)
    responses: Part = field(default_factory=Part)
    skipped: list[Skipped] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)

    @property
    def parts(self) -> dict[str, Part]:
        """The four kinds, by name."""
        return {
            "tools": self.tools,
            "apis": self.apis,
            "queries": self.queries,
            "responses": self.responses,
        }

    @property
    def is_change(self) -> bool:
        """Whether the dataset is not what it was."""
        return any(part.added or part.changed for part in self.parts.values())


async def import_release(
    store: Store, release: Release, name: str, *, advance: Callable[[str, int, int], None]
) -> Imported:
    """Import all parts of a release into the dataset of that name.

    Args:
        store: where to.
        release: where from.
        name: the dataset, made if it is not there.
        advance: told (what is being read, how many are done, how many there are).

    Raises:
        UsageError: the release holds nothing at all.
    """
    imported = Imported(name)
    tools, conflicts = read_tools(release)
    queries = read_queries(release)
    files = release.cache_files()
    imported.conflicts += conflicts + queries.conflicts
    if not (tools or queries.groups or files or release.dumps or release.skipped):
        raise UsageError(f"There is nothing to import in {release.root}.", hint="Its folders are empty.")
    if tools or queries.groups:
        await _import_documents(store, release, tools, queries, imported)
    advance("responses", 0, len(files))
    pending, done, enough = Recordings(), 0, _FIRST_ROWS
    async with aclosing(read_in_batches(files)) as batches:
        async for batch in batches:
            pending.extend(batch)
            if len(pending.rows) >= enough:
                await _import_responses(store, release, pending, imported)
                pending, enough = Recordings(), min(2 * enough, _ROWS_AT_ONCE)
            done += batch.files
            advance("responses", done, len(files))
    await _import_responses(store, release, pending, imported)
    imported.skipped += release.skipped
    for path in release.dumps:
        shown = release.shown(path)
        try:
            with opened_dump(path) as reader:
                loaded = await transfer.load(store, reader, name=name)
        except (FormatError, UsageError) as problem:
            imported.skipped.append(Skipped(shown, problem.message))
            continue
        imported.responses.found += loaded.responses
        imported.responses.added += loaded.added
        imported.conflicts += [
            Conflict(shown, f"what {name} holds already ({c.kept})", f"{c.api} {c.arguments}", c.same_body)
            for c in loaded.conflicts
        ]
    return imported


async def _import_documents(
    store: Store,
    release: Release,
    tools: dict[ToolName, ToolDocument],
    queries: QueryFiles,
    imported: Imported,
) -> None:
    async with store.writing() as connection:
        # From here on other imports into this dataset wait, so what is read now is what will be changed.
        dataset_id = await store.datasets.put(connection, imported.dataset, source=str(release.root))
        old_tools = {(t.category, t.standard_name): t for t in await store.datasets.tools(dataset_id)}
        old_queries = {(q.group, q.query_id): q for q in await store.datasets.queries(dataset_id)}
        derived, skipped = derive_tools(queries.embedded, old_tools | tools)
        imported.skipped += skipped
        new_tools = derived | tools
        new_queries = {(q.group, q.query_id): q for group in queries.groups.values() for q in group}
        changed_tools = _compare_tools(old_tools, new_tools, imported)
        changed_groups = _compare_queries(old_queries, queries.groups, imported)
        await store.datasets.put_tools(connection, dataset_id, changed_tools)
        for group in changed_groups:
            await store.datasets.put_queries(connection, dataset_id, queries.groups[group])
        value = contents_hash((old_tools | new_tools).values(), (old_queries | new_queries).values())
        await store.datasets.set_content_hash(connection, dataset_id, value)


def _compare_tools(
    there: Mapping[ToolName, ToolDocument], new: Mapping[ToolName, ToolDocument], imported: Imported
) -> list[ToolDocument]:
    """Count tools and APIs; returns the tools that have to be written."""
    changed: list[ToolDocument] = []
    for name, tool in new.items():
        old = there.get(name)
        old_apis = {api.standard_name: api for api in old.api_list} if old else {}
        imported.tools.found += 1
        imported.apis.found += len(tool.api_list)
        imported.apis.added += sum(api.standard_name not in old_apis for api in tool.api_list)
        imported.apis.changed += sum(
            api.standard_name in old_apis and old_apis[api.standard_name] != api for api in tool.api_list
        )
        if old is None:
            imported.tools.added += 1
        elif tool_hash(old) != tool_hash(tool):
            imported.tools.changed += 1
        else:
            continue
        changed.append(tool)
    return changed


def _compare_queries(
    there: Mapping[tuple[str, str], Query], groups: Mapping[str, list[Query]], imported: Imported
) -> list[str]:
    """Count queries; returns the groups that have to be written."""
    old = {name: query_hash(query) for name, query in there.items()}
    changed: list[str] = []
    for group, queries in groups.items():
        added = sum((group, query.query_id) not in old for query in queries)
        same = sum(old.get((group, query.query_id)) == query_hash(query) for query in queries)
        imported.queries.found += len(queries)
        imported.queries.added += added
        imported.queries.changed += len(queries) - added - same
        if same < len(queries):
            changed.append(group)
    return changed


async def _import_responses(store: Store, release: Release, pending: Recordings, imported: Imported) -> None:
    release.skipped += pending.skipped
    imported.conflicts += pending.conflicts
    if not pending.rows:
        return
    async with store.writing() as connection:
        dataset_id = await store.datasets.put(connection, imported.dataset, source=str(release.root))
        there = await bulk.add(store, connection, dataset_id, pending.rows, pending.fingerprint)
    imported.responses.found += len(pending.rows)
    imported.responses.added += len(pending.rows) - len(there)
    for row in map(Recording._make, pending.rows if there else ()):
        old = there.get(row.key)
        if old is not None and (old.body, old.provenance) != (row.body, row.provenance):
            place = f"{row.category}/{row.tool}/{row.api}"
            kept = f"what {imported.dataset} holds already ({old.provenance})"
            call = row.arguments.decode()
            imported.conflicts.append(Conflict(place, kept, call, old.body == row.body))
