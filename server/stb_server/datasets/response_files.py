"""Reads the response files of a release into rows with the keys of our store.

A file ``tool_response_cache/<Category>/<tool>_for_<Category>/<api>.json`` is one object, from a
call's arguments in Python's notation to ``{"error", "response"}``. Reading needs no store, so that it can
run in worker processes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from stb_core import json_text
from stb_core.errors import CallError, FormatError
from stb_core.files import read_document
from stb_core.values import Fingerprint, Provenance, call_key, canonical_json
from stb_core.values.python_notation import parse_arguments_literal
from stb_core.values.recordings import RecordingRow
from stb_server.datasets.import_report import Conflict, SkippedFile, shortened

_ORIGIN = Provenance.RECORDED.value


class ResponseFile(NamedTuple):
    """One file of recorded responses; ``display_name`` is its name within the release."""

    path: Path
    display_name: str
    category: str
    tool: str
    api: str

    @property
    def names(self) -> tuple[str, str, str]:
        """Category, tool and API in standard form."""
        return self.category, self.tool, self.api


@dataclass
class RecordingBatch:
    """The recorded responses of some files; ``fingerprint`` is that of all ``rows``."""

    files: int = 0
    rows: list[RecordingRow] = field(default_factory=list)
    fingerprint: Fingerprint = field(default_factory=Fingerprint)
    skipped: list[SkippedFile] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)

    def extend(self, other: RecordingBatch) -> None:
        """Add the responses of other files; no API may be in both."""
        self.files += other.files
        self.rows += other.rows
        self.fingerprint.merge(other.fingerprint)
        self.skipped += other.skipped
        self.conflicts += other.conflicts


def read_response_files(files: Sequence[ResponseFile]) -> RecordingBatch:
    """Read files in order. All files of one API must be among them: the first entry of a call wins."""
    batch = RecordingBatch(files=len(files))
    first: dict[str, tuple[str, bytes]] = {}
    names: tuple[str, str, str] | None = None
    for file in files:
        if file.names != names:
            names, first = file.names, {}
        try:
            entries, write, repeated = _entries(file.path)
        except FormatError as problem:
            batch.skipped.append(SkippedFile(file.display_name, problem.message))
            continue
        batch.conflicts += [
            Conflict(file.display_name, f"{text} (the last time)", f"{text} (before)", entries[text] == value)
            for text, value in repeated
        ]
        new: list[tuple[str, bytes]] = []
        for text, value in entries.items():
            try:
                _check_shape(value)
                arguments = canonical_json(parse_arguments_literal(text))
                body = write(value)
            except (CallError, FormatError) as problem:
                reason = f"entry {shortened(text)}: {problem.message.rstrip('.')}"
                batch.skipped.append(SkippedFile(file.display_name, reason))
                continue
            key = call_key(*names, arguments)
            if key in first:
                kept, kept_body = first[key]
                batch.conflicts.append(Conflict(file.display_name, kept, text, kept_body == body))
                continue
            first[key] = text, body
            new.append((key, body))
            batch.rows.append((key, *names, arguments, body, _ORIGIN, None))
        batch.fingerprint.add_responses(_ORIGIN, new)
    return batch


def _entries(
    path: Path,
) -> tuple[dict[str, Any], Callable[[Any], bytes], list[tuple[str, Any]]]:
    """The entries of a file, how to write one of them as it is, and entries that a later one of the same text hides."""
    raw = read_document(path)
    write: Callable[[Any], bytes] = orjson.dumps
    try:
        entries = orjson.loads(raw)
        if not _is_text(entries):
            # An integer beyond 64 bits is a float by now, and deep nesting cannot be written.
            write = json_text.encode
            if json_text.may_hold_long_integers(raw):
                entries = json_text.parse_leniently(raw)
    except orjson.JSONDecodeError:
        entries, write = json_text.parse_leniently(raw), json_text.encode
    if not isinstance(entries, dict):
        raise FormatError("is not an object from calls to answers")
    # Almost every entry has this member once, so there is seldom anything to look for.
    if raw.count(b'"response"') == len(entries):
        return entries, write, []
    return entries, write, _repeated(raw)


def _repeated(raw: bytes) -> list[tuple[str, Any]]:
    """The members of the outermost object that another one of the same name follows."""
    objects: list[list[tuple[str, Any]]] = []

    def read(members: list[tuple[str, Any]]) -> dict[str, Any]:
        objects[:] = [members]  # the outermost comes last
        return dict(members)

    try:
        json.loads(raw, object_pairs_hook=read)
    except RecursionError:  # the deep entry is skipped when it is written
        return []
    last = {name: number for number, (name, _) in enumerate(objects[0])}
    return [(name, value) for number, (name, value) in enumerate(objects[0]) if number < last[name]]


def _is_text(entries: Any) -> bool:
    """Whether all answers are two plain texts, as almost all are."""
    if type(entries) is not dict:
        return False
    for value in entries.values():
        if (
            type(value) is not dict
            or len(value) != 2
            or type(value.get("error")) is not str
            or type(value.get("response")) is not str
        ):
            return False
    return True


def _check_shape(value: Any) -> None:
    if not isinstance(value, dict):
        raise FormatError("the answer is not an object with error and response")
    for name in ("error", "response"):
        if name not in value:
            raise FormatError(f"the answer has no {name}")
