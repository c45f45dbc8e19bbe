"""Which answer files lie under a path, of which kind, and whose they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from stb_core.errors import FormatError, NotFoundError
from stb_evaluator.formats import converted_in, pass_rates, preferences, raw_in
from stb_evaluator.formats.records import AnswerRecord, find_repeats, read_json

_KINDS: dict[str, Callable[[Any], bool]] = {
    module.KIND: module.is_record for module in (pass_rates, converted_in, preferences)
}
_READERS = {module.KIND: module.read_record for module in (pass_rates, converted_in, raw_in)}
# Words that ToolBench's own scripts look for in the names of raw answers.
_RAW_NAME = re.compile(r"[^_]+_(?:CoT|DFS|BFS)(?![A-Za-z]).*")
_RAW_METHOD = re.compile(r"(?<=_)(?:CoT|DFS|BFS)(?![A-Za-z]).*")
_RAW_ID = re.compile(r"(?P<id>[^_]+)_.+|(?P<whole>.+)")
_TWICE = "{!r} stands in one object of it twice, with different values"


@dataclass(frozen=True)
class AnswerSource:
    """One file of answers; its path gives the system's name and the group."""

    path: Path
    kind: str
    system: str
    group: str
    document: dict[str, Any]
    repeated: Mapping[str, str] = field(default_factory=dict)
    """By query id, what stands in the file several times with different content, in words."""


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
    """All JSON files under a path, by name, or the file itself; links among them as well, wherever they lead.

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


def leads_out(path: Path, root: Path) -> bool:
    """Whether a file under a folder is a link that leads out of it, or nowhere."""
    try:
        return not path.resolve(strict=True).is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        return True


def read_source(path: Path) -> AnswerSource:
    """Read a file and tell what it is.

    Raises:
        FormatError: it is not JSON, or none of the kinds that are known.
    """
    data, document = read_json(path)
    if raw_in.is_record(document):
        name = find_repeats(data, document).first
        repeated = {_id_of(path): _TWICE.format(name)} if name else {}
        return AnswerSource(path, raw_in.KIND, path.parent.parent.name, path.parent.name, document, repeated)
    if not isinstance(document, dict) or not document:
        raise FormatError("it holds no answers by query id")
    system, group = path.parent.name, group_of(path)
    repeats = find_repeats(data, document)
    repeated = {query_id: _TWICE.format(name) for query_id, name in repeats.within.items()}
    repeated |= dict.fromkeys(repeats.names, "the file has different answers to it")
    for record in document.values():  # the first readable one decides
        for kind, is_record in _KINDS.items():
            if is_record(record):
                return AnswerSource(path, kind, system, group, document, repeated)
    raise FormatError(
        "it is neither pass_rate_results, nor preference_results, nor converted or raw answers of ToolBench"
    )


def group_of(path: Path) -> str:
    """The group that a file ``<system>/<group>.json`` or ``<system>/<group>_<system>.json`` is named after."""
    return path.stem.removesuffix(f"_{path.parent.name}")


def unread_answer(path: Path) -> tuple[str, str, str] | None:
    """(system, group, query id) of a raw answer that cannot be read, by its name; None for other files."""
    if not _RAW_NAME.fullmatch(path.stem):
        return None
    return path.parent.parent.name, path.parent.name, _id_of(path)


def read_records(source: AnswerSource) -> Iterator[AnswerRecord | Skipped]:
    """The records of a file, in order; a broken one is named and the rest are read."""
    read: Callable[..., AnswerRecord] = _READERS[source.kind]
    if source.kind == raw_in.KIND and (named := _RAW_METHOD.search(source.path.stem)):
        read = partial(read, method=named[0])
    records = {_id_of(source.path): source.document} if source.kind == raw_in.KIND else source.document
    for query_id, record in records.items():
        if query_id in source.repeated:
            yield Skipped(source.path, source.repeated[query_id], query_id)
            continue
        try:
            yield read(record, source.system, source.group, query_id)
        except FormatError as problem:
            yield Skipped(source.path, problem.message, query_id)
        except KeyError as problem:
            yield Skipped(source.path, f"{problem.args[0]} is missing", query_id)
        except (TypeError, ValueError, AttributeError):  # whose words are about our code, not about the file
            yield Skipped(source.path, "a field has another form than in such records", query_id)


def _id_of(path: Path) -> str:
    found = _RAW_ID.fullmatch(path.stem)
    return (found["id"] or found["whole"]) if found else path.stem
