"""The import format of StableToolBench's releases.

    tools/<Category>/<tool>.json
    solvable_queries/test_instruction/<group>.json, test_query_ids/<group>.json
    tool_response_cache/<Category>/<tool>_for_<Category>/<api>.json

A folder may hold any of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from stb_core.values import standardize_api, standardize_category, standardize_tool
from stb_core.values.names import strip_suffix
from stb_server.datasets.dataset_names import name_problem
from stb_server.datasets.importing import Importer
from stb_server.datasets.parallel_reading import read_in_batches
from stb_server.datasets.query_files import read_queries
from stb_server.datasets.release_folder import ReleaseFolder
from stb_server.datasets.response_files import RecordingBatch, ResponseFile
from stb_server.datasets.tool_files import read_tools

TOOLS, QUERIES, RESPONSES = "tools", "solvable_queries", "tool_response_cache"

# The store is written while the next rows are read: few rows at first, so that it soon has work.
_FIRST_ROWS = 2_500
_ROWS_AT_ONCE = 20_000


@dataclass(frozen=True)
class OfficialRelease:
    """The parts of one release; None for a part that the folder does not hold."""

    folder: ReleaseFolder
    tools: Path | None = None
    queries: Path | None = None
    responses: Path | None = None

    @classmethod
    def find(cls, folder: ReleaseFolder, children: Sequence[Path]) -> OfficialRelease | None:
        """The release that these children of the folder make up; None if none of them is a part."""
        parts = {child.name: child for child in children if child.is_dir()}
        release = cls(folder, *map(parts.get, (TOOLS, QUERIES, RESPONSES)))
        return release if release.tools or release.queries or release.responses else None

    async def import_into(self, importer: Importer) -> bool:
        """Import tools and queries in one transaction, then responses by the ten thousand."""
        tools, conflicts = read_tools(self.folder, self.tool_files())
        queries = read_queries(self.folder, self.query_files())
        files = self.response_files()
        importer.result.conflicts += conflicts + queries.conflicts
        if tools or queries.groups:
            await importer.add_documents(tools, queries)
        importer.advance("responses", 0, len(files))
        pending, done, enough = RecordingBatch(), 0, _FIRST_ROWS
        async with aclosing(read_in_batches(files)) as batches:
            async for batch in batches:
                self.folder.skipped += batch.skipped
                pending.extend(batch)
                if len(pending.rows) >= enough:
                    await importer.add_responses(pending)
                    pending, enough = RecordingBatch(), min(2 * enough, _ROWS_AT_ONCE)
                done += batch.files
                importer.advance("responses", done, len(files))
        await importer.add_responses(pending)
        return bool(tools or queries.groups or files)

    def tool_files(self) -> Iterator[tuple[str, Path]]:
        """(category folder, file) of all tool documents, by name."""
        for category in self.folder.folders(self.tools):
            for file in self.folder.json_files(category):
                yield category.name, file

    def query_files(self) -> Iterator[tuple[Path, Path | None]]:
        """(queries, query ids that count or None) of all groups, by name."""
        if self.queries is None:
            return
        folders = {folder.name: folder for folder in self.folder.folders(self.queries)}
        ids = {file.name: file for file in self.folder.json_files(folders.get("test_query_ids"))}
        for file in self.folder.json_files(folders.get("test_instruction")):
            yield file, ids.get(file.name)

    def response_files(self) -> list[ResponseFile]:
        """All files of recorded responses by name, those of one API next to each other."""
        files: list[ResponseFile] = []
        for category in self.folder.folders(self.responses):
            standard_category = standardize_category(category.name)
            for tool in self.folder.folders(category):
                standard_tool = standardize_tool(strip_suffix(tool.name, category.name))
                for file in self.folder.json_files(tool):
                    names = standard_category, standard_tool, standardize_api(file.stem)
                    if problem := name_problem(*names):
                        self.folder.skip(file, problem)
                        continue
                    files.append(ResponseFile(file, self.folder.display_name(file), *names))
        return sorted(files, key=lambda file: (file.names, file.display_name))
