"""All answer files under a path, read and sorted by system."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from stb_core.errors import FormatError, UsageError
from stb_evaluator.legacy import preferences
from stb_evaluator.legacy.preferences import Votes
from stb_evaluator.legacy.records import Record
from stb_evaluator.legacy.sources import Skipped, find_files, read_records, read_source


@dataclass
class Found:
    """All that lies under a path: by system, its records by (group, query id)."""

    kinds: dict[str, str] = field(default_factory=dict)
    records: dict[str, dict[tuple[str, str], Record]] = field(default_factory=dict)
    votes: list[Votes] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def query_texts(self) -> dict[tuple[str, str], str]:
        """The text of every query that some system answered."""
        return {
            place: record.trajectory.query
            for records in self.records.values()
            for place, record in records.items()
        }


def read_all(path: Path, *, advance: Callable[[int, int], None] = lambda _done, _all: None) -> Found:
    """Read every answer file under a path; what cannot be read is named in ``skipped``.

    Raises:
        NotFoundError: the path is not there.
        FormatError: nothing under it is an answer file.
        UsageError: one system has answers of two kinds.
    """
    found = Found()
    files = find_files(path)
    for number, file in enumerate(files, start=1):
        try:
            source = read_source(file)
        except FormatError as problem:
            found.skipped.append(Skipped(file, problem.message.removeprefix(f"{file} ")))
            continue
        if source.kind == preferences.KIND:
            try:
                found.votes.append(preferences.read_votes(source.document, file.stem))
            except FormatError as problem:
                found.skipped.append(Skipped(file, problem.message))
            continue
        if found.kinds.setdefault(source.system, source.kind) != source.kind:
            raise UsageError(
                f"{source.system!r} has answers of the kinds {found.kinds[source.system]} and {source.kind}.",
                hint="Import one folder of one kind at a time.",
            )
        mine = found.records.setdefault(source.system, {})
        for record in read_records(source):
            if isinstance(record, Skipped):
                found.skipped.append(record)
                continue
            place = (record.trajectory.group, record.trajectory.query_id)
            if place in mine:
                found.skipped.append(Skipped(file, "another file has an answer to it already", place[1]))
            else:
                mine[place] = record
        advance(number, len(files))
    if not any(found.records.values()) and not found.votes:
        details = f" ({found.skipped[0]})" if found.skipped else ""
        raise FormatError(
            f"{path} holds no answers that can be imported{details}.",
            hint="Give a folder of pass_rate_results, of converted answers or of ToolBench's answers.",
        )
    return found
