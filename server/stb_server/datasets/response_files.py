"""Files of the official response cache: what they hold, as responses of ours with keys of ours.

A file ``tool_response_cache/<Category>/<tool>_for_<Category>/<api>.json`` is one object, from a
call's arguments in Python's notation to ``{"error", "response"}``. Reading is pure and needs no
store, so that it can be done in processes of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from stb_core import json_text
from stb_core.errors import CallError, FormatError
from stb_core.values.calls import call_key, canonical_json
from stb_core.values.fingerprint import Fingerprint
from stb_core.values.provenance import Provenance
from stb_core.values.python_notation import parse_arguments_literal
from stb_core.values.recordings import RecordingRow
from stb_server.datasets.import_report import Conflict, Skipped, shortened

_ORIGIN = Provenance.RECORDED.value


class CacheFile(NamedTuple):
    """One file of a release's cache; ``shown`` is its name within the release."""

    path: Path
    shown: str
    category: str
    tool: str
    api: str

    @property
    def names(self) -> tuple[str, str, str]:
        """Category, tool and API in standard form."""
        return self.category, self.tool, self.api


@dataclass
class Recordings:
    """What a number of cache files hold; ``fingerprint`` is that of all ``rows``."""

    files: int = 0
    rows: list[RecordingRow] = field(default_factory=list)
    fingerprint: Fingerprint = field(default_factory=Fingerprint)
    skipped: list[Skipped] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)

    def extend(self, other: Recordings) -> None:
        """Add what other files hold; no API may be in both."""
        self.files += other.files
        self.rows += other.rows
        self.fingerprint.merge(other.fingerprint)
        self.skipped += other.skipped
        self.conflicts += other.conflicts


def read_cache_files(files: Sequence[CacheFile]) -> Recordings:
    """Read files in order. All files of one API must be among them: the first entry of a call wins."""
    found = Recordings(files=len(files))
    first: dict[str, tuple[str, bytes]] = {}
    names: tuple[str, str, str] | None = None
    for file in files:
        if file.names != names:
            names, first = file.names, {}
        try:
            entries, write = _entries(file.path)
        except FormatError as problem:
            found.skipped.append(Skipped(file.shown, problem.message))
            continue
        new: list[tuple[str, bytes]] = []
        for text, value in entries.items():
            try:
                _check_shape(value)
                arguments = canonical_json(parse_arguments_literal(text))
                body = write(value)
            except (CallError, FormatError) as problem:
                reason = f"entry {shortened(text)}: {problem.message.rstrip('.')}"
                found.skipped.append(Skipped(file.shown, reason))
                continue
            key = call_key(*names, arguments)
            if key in first:
                kept, kept_body = first[key]
                found.conflicts.append(Conflict(file.shown, kept, text, kept_body == body))
                continue
            first[key] = text, body
            new.append((key, body))
            found.rows.append((key, *names, arguments, body, _ORIGIN, None))
        found.fingerprint.add_responses(_ORIGIN, new)
    return found


def _entries(path: Path) -> tuple[dict[str, Any], Callable[[Any], bytes]]:
    """The entries of a file, and how to write one of them as it is."""
    try:
        raw = path.read_bytes()
    except OSError as problem:
        raise FormatError(f"cannot be read: {problem.strerror}") from None
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
    return entries, write


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
