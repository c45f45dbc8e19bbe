"""All answer files under a path, read and sorted by system."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from stb_core.errors import FormatError, UsageError
from stb_core.values.queries import STANDARD_GROUPS
from stb_evaluator.formats import preferences, raw_in
from stb_evaluator.formats.preferences import Votes
from stb_evaluator.formats.records import AnswerRecord, salvaged_names
from stb_evaluator.formats.sources import (
    AnswerSource,
    Skipped,
    find_files,
    group_of,
    leads_out,
    read_records,
    read_source,
    unread_answer,
)


@dataclass
class ReadAnswers:
    """All that lies under a path: by system, its records by (group, query id)."""

    kinds: dict[str, str] = field(default_factory=dict)
    records: dict[str, dict[tuple[str, str], AnswerRecord]] = field(default_factory=dict)
    votes: list[Votes] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    unread: dict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    """By system, what it has an answer to that cannot be read: (group, query id)."""

    torn: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By system, groups whose file cannot be read at all, if that is what it is.

    The ids that stand in its text are in ``unread``.
    """

    def named(self, system: str) -> set[tuple[str, str]]:
        """All that a system's files name an answer to, by (group, query id)."""
        return {*self.records[system], *self.unread.get(system, ())}

    def groups(self) -> set[str]:
        """All groups of which some system has answers, and the standard ones."""
        return {*STANDARD_GROUPS, *(group for records in self.records.values() for group, _ in records)}

    def query_texts(self) -> dict[tuple[str, str], str]:
        """The text of every query that some system answered."""
        return {
            place: record.trajectory.query
            for records in self.records.values()
            for place, record in records.items()
        }


def read_all(path: Path, *, advance: Callable[[int, int], None] = lambda _done, _all: None) -> ReadAnswers:
    """Read every answer file under a path; what cannot be read is named in ``skipped``.

    Raises:
        NotFoundError: the path is not there.
        FormatError: nothing under it is an answer file.
        UsageError: one system has answers of two kinds.
    """
    found = ReadAnswers()
    files = find_files(path)
    unreadable: list[Path] = []
    for number, file in enumerate(files, start=1):
        if path.is_dir() and leads_out(file, path):
            found.skipped.append(Skipped(file, "is a link that leads out of the folder"))
            continue
        try:
            source = read_source(file)
        except FormatError as problem:
            found.skipped.append(Skipped(file, problem.message.removeprefix(f"{file} ")))
            unreadable.append(file)
            continue
        if source.kind == preferences.KIND:
            _take_votes(found, source)
            continue
        _take(found, source)
        advance(number, len(files))
    for file in unreadable:
        _expect(found, file)
    if not any(found.records.values()) and not found.votes:
        details = f" ({found.skipped[0]})" if found.skipped else ""
        raise FormatError(
            f"{path} holds no answers that can be imported{details}.",
            hint="Give a folder of pass_rate_results, of converted answers or of ToolBench's answers.",
        )
    return found


def _take_votes(found: ReadAnswers, source: AnswerSource) -> None:
    if source.repeated:
        reason = f"query {min(source.repeated)} has different votes in it"
        found.skipped.append(Skipped(source.path, reason))
        return
    try:
        found.votes.append(preferences.read_votes(source.document, source.path.stem))
    except FormatError as problem:
        found.skipped.append(Skipped(source.path, problem.message))


def _take(found: ReadAnswers, source: AnswerSource) -> None:
    if found.kinds.setdefault(source.system, source.kind) != source.kind:
        raise UsageError(
            f"{source.system!r} has answers of the kinds {found.kinds[source.system]} and {source.kind}.",
            hint="Import one folder of one kind at a time.",
        )
    mine = found.records.setdefault(source.system, {})
    for record in read_records(source):
        if isinstance(record, Skipped):
            found.skipped.append(record)
            found.unread[source.system].add((source.group, record.query_id))
            continue
        place = (record.trajectory.group, record.trajectory.query_id)
        if place in mine:
            found.skipped.append(Skipped(source.path, "another file has an answer to it already", place[1]))
        else:
            mine[place] = record


def _expect(found: ReadAnswers, file: Path) -> None:
    """Record what an unreadable file should answer, as far as its name says."""
    if place := unread_answer(file):
        system, group, query_id = place
        if found.kinds.setdefault(system, raw_in.KIND) == raw_in.KIND:
            found.records.setdefault(system, {})
            found.unread[system].add((group, query_id))
    elif file.parent.name in found.records:
        system, group = file.parent.name, group_of(file)
        found.torn[system].add(group)
        ids = salvaged_names(file)
        if group in found.groups() or (ids and all(map(str.isdecimal, ids))):
            found.unread[system] |= {(group, query_id) for query_id in ids}
