"""Finds and imports what a folder holds, by the table of import formats.

A new format is one module with a class that has ``find`` and ``import_into``, as ``official_release`` has,
and one row in ``IMPORT_FORMATS``.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from stb_core.errors import NotFoundError, UsageError
from stb_core.store import Store
from stb_server.datasets.dump_folder import DumpFolder
from stb_server.datasets.importing import DatasetImport, Importer, ImportSource
from stb_server.datasets.official_release import QUERIES, RESPONSES, TOOLS, OfficialRelease
from stb_server.datasets.release_folder import ReleaseFolder, printable


class ImportFormat(NamedTuple):
    """A format that ``stb data import`` reads."""

    holds: tuple[str, ...]
    """What a folder in this format holds, for messages."""
    parts: frozenset[str]
    """Names of folders that can also be imported alone."""
    find: Callable[[ReleaseFolder, Sequence[Path]], ImportSource | None]
    """Takes a folder and its children; returns what it found in this format, or None."""


IMPORT_FORMATS = (
    ImportFormat(
        (f"{TOOLS}/", f"{QUERIES}/", f"{RESPONSES}/"),
        frozenset({TOOLS, QUERIES, RESPONSES}),
        OfficialRelease.find,
    ),
    ImportFormat(("dump",), frozenset(), DumpFolder.find),
)
"""All formats; one folder may hold several, which are imported in this order."""


@dataclass(frozen=True)
class Release:
    """A folder and what was found in it, one source per format."""

    folder: ReleaseFolder
    sources: tuple[ImportSource, ...]

    @property
    def name(self) -> str:
        """The default name of its dataset: the name of the folder."""
        return self.folder.root.name


def find_release(path: Path) -> Release:
    """The release at a path.

    Raises:
        NotFoundError: the path does not exist.
        UsageError: the path is not a folder, or holds nothing in any of the formats.
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
    is_part = any(root.name in row.parts for row in IMPORT_FORMATS)
    folder = ReleaseFolder(root.parent if is_part else root)
    children = [root] if is_part else folder.children(root)
    found = (row.find(folder, children) for row in IMPORT_FORMATS)
    sources = tuple(source for source in found if source)
    if not sources:
        *names, last = [name for row in IMPORT_FORMATS for name in row.holds]
        raise UsageError(
            f"{printable(path)} is not a release: it holds no {', '.join(names)} or {last}.",
            hint="Name the folder that holds them, or one of them.",
        )
    return Release(folder, sources)


async def import_release(
    store: Store, release: Release, name: str, *, advance: Callable[[str, int, int], None]
) -> DatasetImport:
    """Import all parts of a release into the dataset of that name.

    Args:
        store: where the dataset is.
        release: what to import.
        name: the dataset, created if needed.
        advance: called with (what is being read, how many are done, how many there are).

    Raises:
        UsageError: the release is empty.
    """
    result, root = DatasetImport(name), release.folder.root
    importer = Importer(store, result, printable(root), advance)
    is_empty = True
    for source in release.sources:
        if await source.import_into(importer):
            is_empty = False
    result.skipped += release.folder.skipped
    result.gaps += release.folder.gaps
    if is_empty and not result.skipped:
        raise UsageError(f"There is nothing to import in {root}.", hint="Its folders are empty.")
    return result
