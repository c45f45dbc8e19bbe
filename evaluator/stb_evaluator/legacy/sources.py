"""Which answer files lie under a path, of which kind, and whose they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stb_core.errors import FormatError, NotFoundError
from stb_evaluator.legacy import converted, pass_rates, preferences, raw
from stb_evaluator.legacy.records import Record, read_json

_READERS = {module.KIND: module.read_record for module in (pass_rates, converted, raw)}
_RAW_ID = re.compile(r"(?P<id>[^_]+)_.+|(?P<whole>.+)")


@dataclass(frozen=True)
class Source:
    """One file of answers: the system's name and the group are told by its place."""

    path: Path
    kind: str
    system: str
    group: str
    document: dict[str, Any]


@dataclass(frozen=True)
class Skipped:
    """A file, or a record in one, that could not be read, and why."""

    path: Path
    reason: str
    query_id: str = ""

    def __str__(self) -> str:
        place = f"{self.path}, query {self.query_id}" if self.query_id else str(self.path)
        return f"{place}: {self.reason}"


def find_files(path: Path) -> list[Path]:
    """All JSON files under a path, by name, or the file itself.

    Raises:
        NotFoundError: the path is not there.
    """
    if path.is_file():
        return [path.resolve()]
    if not path.is_dir():
        raise NotFoundError(
            f"There is no file or folder {path}.", hint="Give the path of a folder of answers."
        )
    return sorted(p for p in path.resolve().rglob("*.json") if p.is_file())


def read_source(path: Path) -> Source:
    """Read a file and tell what it is.

    Raises:
        FormatError: it is not JSON, or none of the kinds that are known.
    """
    document = read_json(path)
    if raw.is_record(document):
        return Source(path, raw.KIND, path.parent.parent.name, path.parent.name, document)
    if not isinstance(document, dict) or not document:
        raise FormatError("it holds no answers by query id")
    first = next(iter(document.values()))
    system = path.parent.name
    group = path.stem.removesuffix(f"_{system}")
    if pass_rates.is_record(first):
        return Source(path, pass_rates.KIND, system, group, document)
    if converted.is_record(first):
        return Source(path, converted.KIND, system, group, document)
    if preferences.is_record(first):
        return Source(path, preferences.KIND, system, group, document)
    raise FormatError(
        "it is neither pass_rate_results, nor preference_results, nor converted or raw answers of ToolBench"
    )


def read_records(source: Source) -> Iterator[Record | Skipped]:
    """The records of a file, in order; a broken one is named and the rest are read."""
    read: Callable[..., Record] = _READERS[source.kind]
    records = {_id_of(source.path): source.document} if source.kind == raw.KIND else source.document
    for query_id, record in records.items():
        try:
            yield read(record, source.system, source.group, query_id)
        except (FormatError, KeyError, TypeError, ValueError, AttributeError) as problem:
            reason = f"{problem.args[0]} is missing" if isinstance(problem, KeyError) else str(problem)
            yield Skipped(source.path, reason.splitlines()[0] if reason else "it is malformed", query_id)


def _id_of(path: Path) -> str:
    found = _RAW_ID.fullmatch(path.stem)
    return (found["id"] or found["whole"]) if found else path.stem
