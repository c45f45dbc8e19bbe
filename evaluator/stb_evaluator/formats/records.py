"""What one foreign record says: a trajectory, and the verdicts that were given on it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from stb_core.errors import FormatError
from stb_core.files import read_document
from stb_core.values import Status, Trajectory

# A member of an object that begins like a record of answers.
_RECORD = re.compile(
    rb'"([^"\\]{1,80})"\s*:\s*\{\s*"(?:query|available_tools|tool_names|answer\w*|is_solved)"\s*:'
)


@dataclass(frozen=True)
class AnswerRecord:
    """One answer of one system; ``verdicts`` by round."""

    trajectory: Trajectory
    verdicts: dict[int, Status] = field(default_factory=dict)


def read_json(path: Path) -> tuple[bytes, Any]:
    """The text of a file, and the JSON value in it.

    Raises:
        FormatError: it cannot be read or is not JSON.
    """
    try:
        data = read_document(path)
    except FormatError as problem:
        raise FormatError(f"{path} {problem.message}.") from None
    try:
        return data, orjson.loads(data)
    except orjson.JSONDecodeError as problem:
        return data, _read_lax_json(data, f"{path} is not JSON: {str(problem).split(': line', 1)[0]}.")


@dataclass(frozen=True)
class RepeatedNames:
    """Names that stand in one object of a JSON text more than once, with different values.

    Readers of JSON keep the last of them without a word. ``names`` are those of the outermost object; ``within`` gives,
    by the name of each of its members, one that is repeated anywhere inside.
    """

    names: frozenset[str] = frozenset()
    within: Mapping[str, str] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """One of all these names; "" if there is none."""
        return min((*self.names, *self.within.values()), default="")


class _Torn(dict[str, Any]):
    """An object in whose text names are repeated with different values."""

    repeated: frozenset[str] = frozenset()


def find_repeats(data: bytes, value: Any) -> RepeatedNames:
    """The repeated names in the text of a JSON value, at any depth.

    Raises:
        FormatError: it is nested too deeply for a closer look.
    """
    try:
        # A member that was dropped took its quotation marks along.
        if rb"\u0022" not in data and data.count(b'"') == _count_quotes(value):
            return RepeatedNames()
        document = json.loads(data, object_pairs_hook=_read_object)
        if not isinstance(document, dict):
            return RepeatedNames()
        inner = {name: found for name, member in document.items() if (found := _find_torn(member))}
    except RecursionError:
        raise FormatError("it is nested too deeply") from None
    return RepeatedNames(document.repeated if isinstance(document, _Torn) else frozenset(), inner)


def _count_quotes(value: Any) -> int:
    """How many quotation marks the text of a JSON value has."""
    try:
        return orjson.dumps(value).count(b'"')
    except orjson.JSONEncodeError:  # deeper than orjson writes
        return json.dumps(value, ensure_ascii=False).count('"')


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    repeated = frozenset(name for name, value in pairs if values.setdefault(name, value) != value)
    if not repeated:
        return values
    torn = _Torn(values)
    torn.repeated = repeated
    return torn


def _find_torn(value: Any) -> str:
    """A name that is repeated in a value or inside it; "" if there is none."""
    if isinstance(value, _Torn):
        return min(value.repeated)
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((found for one in inside if (found := _find_torn(one))), "")


def salvaged_names(path: Path) -> list[str]:
    """The names of the records in a file that cannot be read as a whole, as far as its text goes."""
    try:
        data = read_document(path)
    except FormatError:
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
