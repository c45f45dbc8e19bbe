"""The import format of our own dumps: ``*.jsonl`` and ``*.jsonl.zst`` files in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stb_core.errors import FormatError, UsageError
from stb_server.datasets import transfer
from stb_server.datasets.dump_file import is_dump, opened_dump
from stb_server.datasets.import_report import Conflict
from stb_server.datasets.importing import Importer
from stb_server.datasets.release_folder import ReleaseFolder


@dataclass(frozen=True)
class DumpFolder:
    """The dumps in one folder, by name."""

    folder: ReleaseFolder
    files: tuple[Path, ...]

    @classmethod
    def find(cls, folder: ReleaseFolder, children: Sequence[Path]) -> DumpFolder | None:
        """The dumps among these children of the folder; None if there are none."""
        files = tuple(child for child in children if is_dump(child))
        return cls(folder, files) if files else None

    async def import_into(self, importer: Importer) -> bool:
        """Load each dump whole; one that is damaged or belongs to other tools is skipped."""
        result = importer.result
        for path in self.files:
            try:
                with opened_dump(path) as reader:
                    loaded = await transfer.load(importer.store, reader, name=result.dataset)
            except (FormatError, UsageError) as problem:
                self.folder.skip(path, problem.message)
                continue
            result.responses.found += loaded.responses
            result.responses.added += loaded.added
            result.conflicts += [
                Conflict(
                    self.folder.display_name(path),
                    f"what {result.dataset} holds already ({conflict.kept})",
                    f"{conflict.api} {conflict.arguments}",
                    conflict.same_body,
                )
                for conflict in loaded.conflicts
            ]
        return True
