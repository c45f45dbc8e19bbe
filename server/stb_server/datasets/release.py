"""A release on disk in the official layout: which of its parts are there, and the files in them.

    tools/<Category>/<tool>.json
    solvable_queries/test_instruction/<group>.json, test_query_ids/<group>.json
    tool_response_cache/<Category>/<tool>_for_<Category>/<api>.json
    *.jsonl, *.jsonl.zst                    dumps of ours

A folder may hold any of these, or be one of the three itself. Nothing outside the folder is read:
a link that leads out of it is left out and reported.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stb_core.errors import NotFoundError, UsageError
from stb_core.values.names import standardize_api, standardize_category, standardize_tool, strip_suffix
from stb_server.datasets import dump_file as dumps
from stb_server.datasets.dataset_names import name_problem
from stb_server.datasets.import_report import Skipped
from stb_server.datasets.response_files import CacheFile

TOOLS, QUERIES, RESPONSES = "tools", "solvable_queries", "tool_response_cache"


@dataclass
class Release:
    """The parts of one release; ``skipped`` grows while its folders are read."""

    root: Path
    tools: Path | None = None
    queries: Path | None = None
    responses: Path | None = None
    dumps: tuple[Path, ...] = ()
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What a dataset made of it is called unless told otherwise: the name of its folder."""
        return self.root.name

    def shown(self, path: Path) -> str:
        """The name of a file within the release, fit to be printed."""
        return printable(path.relative_to(self.root).as_posix())

    def skip(self, path: Path, reason: str) -> None:
        """Leave a file out and remember why."""
        self.skipped.append(Skipped(self.shown(path), reason))

    def tool_files(self) -> Iterator[tuple[str, Path]]:
        """(category folder, file) of all tool documents, by name."""
        for category in self._folders(self.tools):
            for file in self._files(category):
                yield category.name, file

    def query_files(self) -> Iterator[tuple[Path, Path | None]]:
        """(queries, query ids that count or None) of all groups, by name."""
        if self.queries is None:
            return
        folders = {folder.name: folder for folder in self._folders(self.queries)}
        ids = {file.name: file for file in self._files(folders.get("test_query_ids"))}
        for file in self._files(folders.get("test_instruction")):
            yield file, ids.get(file.name)

    def cache_files(self) -> list[CacheFile]:
        """All files of the response cache, those of one API next to each other, by name."""
        found: list[CacheFile] = []
        for category in self._folders(self.responses):
            standard_category = standardize_category(category.name)
            for tool in self._folders(category):
                standard_tool = standardize_tool(strip_suffix(tool.name, category.name))
                for file in self._files(tool):
                    names = standard_category, standard_tool, standardize_api(file.stem)
                    if problem := name_problem(*names):
                        self.skip(file, problem)
                        continue
                    found.append(CacheFile(file, self.shown(file), *names))
        return sorted(found, key=lambda file: (file.names, file.shown))

    def _folders(self, folder: Path | None) -> list[Path]:
        return [path for path in self._children(folder) if path.is_dir()]

    def _files(self, folder: Path | None) -> list[Path]:
        return [path for path in self._children(folder) if path.suffix == ".json" and path.is_file()]

    def _children(self, folder: Path | None) -> list[Path]:
        if folder is None:
            return []
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as problem:
            self.skip(folder, f"cannot be read: {problem.strerror}")
            return []
        children: list[Path] = []
        for entry in found:
            path = Path(entry.path)
            if entry.name.startswith("."):
                continue
            if entry.is_symlink() and not _leads_into(path, self.root):
                self.skip(path, "is a link that leads out of the release")
                continue
            children.append(path)
        return children


def find_release(path: Path) -> Release:
    """The release at a path.

    Raises:
        NotFoundError: there is nothing at the path.
        UsageError: it is not a folder, or holds no part of a release.
    """
    try:
        kind = path.stat().st_mode
        root = path.resolve()
    except (OSError, ValueError):
        raise NotFoundError(f"There is no folder {printable(path)}.", hint="Check the path.") from None
    if not stat.S_ISDIR(kind):
        raise UsageError(
            f"{printable(path)} is not a folder.",
            hint="Name the folder of a release; for a dump use: stb cache load FILE; for a bundle: stb import FILE.",
        )
    if root.name == TOOLS:
        return Release(root.parent, tools=root)
    if root.name == QUERIES:
        return Release(root.parent, queries=root)
    if root.name == RESPONSES:
        return Release(root.parent, responses=root)
    release = Release(root)
    children = release._children(root)  # noqa: SLF001 - our own
    parts = {child.name: child for child in children if child.is_dir()}
    release.tools, release.queries, release.responses = map(parts.get, (TOOLS, QUERIES, RESPONSES))
    release.dumps = tuple(child for child in children if dumps.is_dump(child))
    if not (release.tools or release.queries or release.responses or release.dumps):
        raise UsageError(
            f"{printable(path)} is not a release: it holds no {TOOLS}/, {QUERIES}/, {RESPONSES}/ or dump.",
            hint="Name the folder that holds them, or one of them.",
        )
    return release


def _leads_into(link: Path, root: Path) -> bool:
    try:
        return link.resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):
        return False


def printable(name: str | Path) -> str:
    """A name that any terminal and database can take, whatever bytes the file system has."""
    return os.fsencode(name).decode(errors="replace")
