"""What one foreign record says: a trajectory, and the verdicts that were given on it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from stb_core.errors import FormatError
from stb_core.values import Status, Trajectory

# A member of an object whose value is an object; and one that begins like a record of answers.
_MEMBER = re.compile(rb'"((?:[^"\\]|\\.){1,80})"\s*:\s*\{')
_RECORD = re.compile(
    rb'"([^"\\]{1,80})"\s*:\s*\{\s*"(?:query|available_tools|tool_names|answer\w*|is_solved)"\s*:'
)


@dataclass(frozen=True)
class AnswerRecord:
    """One answer of one system; ``verdicts`` by round."""

    trajectory: Trajectory
    verdicts: dict[int, Status] = field(default_factory=dict)


def read_json(path: Path) -> Any:
    """The JSON value in a file.

    Raises:
        FormatError: it cannot be read or is not JSON.
    """
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise FormatError(f"{path} cannot be read: {problem.strerror}.") from None
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as problem:
        return _read_lax_json(data, f"{path} is not JSON: {str(problem).split(': line', 1)[0]}.")


def repeated_names(data: bytes, names: Collection[str]) -> set[str]:
    """Those of an object's names that stand in its text more than once, with different values.

    Readers of JSON keep the last of them without a word.
    """
    # Nested objects may have the same names, so this only tells whether a closer look is needed.
    seen = Counter(found[1].decode("utf-8", "replace") for found in _MEMBER.finditer(data))
    if all(seen[name] < 2 for name in names):
        return set()
    members: list[tuple[str, Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members[:] = pairs  # the outermost object is the last
        return dict(pairs)

    json.loads(data, object_pairs_hook=keep)
    values: dict[str, Any] = {}
    return {name for name, value in members if values.setdefault(name, value) != value}


def salvaged_names(path: Path) -> list[str]:
    """The names of the records in a file that cannot be read as a whole, as far as its text goes."""
    try:
        data = path.read_bytes()
    except OSError:
        return []
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return [found[1].decode("utf-8", "replace") for found in _RECORD.finditer(data)]
    return list(value) if isinstance(value, dict) else []


def _read_lax_json(data: bytes, complaint: str) -> Any:
    """JSON as Python writes it, with NaN and halves of surrogate pairs, which become null and ``?``."""
    try:
        value = json.loads(data, parse_constant=lambda _: None)
        return orjson.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise FormatError(complaint) from None


def whole_object(record: Any) -> dict[str, Any]:
    """A record, which must be an object.

    Raises:
        FormatError: it is something else.
    """
    if not isinstance(record, dict):
        raise FormatError("it is not an object")
    return record


def object_field(record: Any, name: str) -> dict[str, Any]:
    """A field that must be an object.

    Raises:
        FormatError: it is missing or something else.
    """
    value = whole_object(record).get(name)
    if not isinstance(value, dict):
        raise FormatError(f"{name} is missing" if value is None else f"{name} is not an object")
    return value


def text_field(record: Any, name: str) -> str:
    """A field that must be text.

    Raises:
        FormatError: it is missing or something else.
    """
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, str):
        raise FormatError(f"{name} is not text")
    return value


def read_status(value: Any) -> Status:
    """``"AnswerStatus.Solved"`` or ``"Solved"`` as a status.

    Raises:
        FormatError: it is neither Solved, Unsure nor Unsolved.
    """
    word = value.removeprefix("AnswerStatus.").lower() if isinstance(value, str) else ""
    if word in {Status.SOLVED, Status.UNSURE, Status.UNSOLVED}:
        return Status(word)
    raise FormatError(f"{str(value)[:40]!r} is not a verdict")
