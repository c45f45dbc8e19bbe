"""A folder to import from: lists its files safely, and collects what had to be skipped.

Nothing outside the folder is read: a link that leads out of it is skipped and reported.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from stb_server.datasets.import_report import Gap, SkippedFile


@dataclass
class ReleaseFolder:
    """The root of a release; ``skipped`` and ``gaps`` grow while it is read."""

    root: Path
    skipped: list[SkippedFile] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)

    def display_name(self, path: Path) -> str:
        """The name of a file relative to the root, safe to print."""
        return printable(path.relative_to(self.root).as_posix())

    def skip(self, path: Path, reason: str) -> None:
        """Leave a file out and remember why."""
        self.skipped.append(SkippedFile(self.display_name(path), reason))

    def folders(self, folder: Path | None) -> list[Path]:
        """The folders in a folder, by name; none without a folder."""
        return [path for path in self.children(folder) if path.is_dir()]

    def json_files(self, folder: Path | None) -> list[Path]:
        """The ``.json`` files in a folder, by name; none without a folder."""
        return [path for path in self.children(folder) if path.suffix == ".json" and path.is_file()]

    def children(self, folder: Path | None) -> list[Path]:
        """All that a folder holds, by name, without hidden files and links that lead out of the root."""
        if folder is None:
            return []
        try:
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as problem:
            self.skip(folder, f"cannot be read: {problem.strerror}")
            return []
        children: list[Path] = []
        for entry in entries:
            path = Path(entry.path)
            if entry.name.startswith("."):
                continue
            if entry.is_symlink() and not _leads_into(path, self.root):
                self.skip(path, "is a link that leads out of the release")
                continue
            children.append(path)
        return children


def _leads_into(link: Path, root: Path) -> bool:
    try:
        return link.resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):
        return False


def printable(name: str | Path) -> str:
    """A file name that any terminal and database accepts, whatever bytes the file system holds."""
    return os.fsencode(name).decode(errors="replace")
