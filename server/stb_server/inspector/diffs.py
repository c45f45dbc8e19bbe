"""Differences between two sets of arguments or two texts, limited in size."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rapidfuzz.distance import Indel

from stb_server.inspector import json_view

MAX_LINES = 1_500
_LONGEST_LINE = 300
_CONTEXT = 3
_MOST_CHANGES = 12


@dataclass(frozen=True, slots=True)
class ArgumentChange:
    """One argument in both calls, as JSON text; empty if a call does not have it."""

    name: str
    kind: Literal["same", "changed", "added", "removed"]
    before: str
    after: str


def compare_arguments(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[ArgumentChange]:
    """Compare arguments one by one: first those of ``after`` in their order, then the rest."""
    changes: list[ArgumentChange] = []
    for name in [*after, *(name for name in before if name not in after)]:
        old = _format_json(before[name]) if name in before else ""
        new = _format_json(after[name]) if name in after else ""
        if name not in before:
            changes.append(ArgumentChange(name, "added", "", new))
        elif name not in after:
            changes.append(ArgumentChange(name, "removed", old, ""))
        else:
            changes.append(ArgumentChange(name, "same" if old == new else "changed", old, new))
    return changes


def few_changes(changes: Sequence[ArgumentChange]) -> list[ArgumentChange]:
    """The changes for a page: all, or if there are too many the first ones that differ."""
    if len(changes) <= _MOST_CHANGES:
        return list(changes)
    return sorted(changes, key=lambda change: change.kind == "same")[:_MOST_CHANGES]


def _format_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def read_arguments(raw: bytes | str | None) -> dict[str, Any]:
    """Arguments from their JSON text; empty if it is not an object."""
    _, value = json_view.read_json(raw or b"{}")
    return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a comparison; ``skip`` stands for equal lines that are not shown."""

    kind: Literal["same", "removed", "added", "skip"]
    text: str


@dataclass(frozen=True, slots=True)
class TextDifference:
    """A comparison of two texts; ``is_cut`` if only their first lines were compared."""

    lines: list[DiffLine]
    added: int
    removed: int
    is_cut: bool


def compare_lines(before: bytes, after: bytes) -> TextDifference:
    """Compare line by line; JSON is first formatted with one member per line."""
    old, new = _split_lines(before), _split_lines(after)
    is_cut = len(old) > MAX_LINES or len(new) > MAX_LINES
    old, new = old[:MAX_LINES], new[:MAX_LINES]
    lines: list[DiffLine] = []
    pending: list[DiffLine] = []
    added = removed = 0
    for step in Indel.opcodes(old, new):
        removed_part = old[step.src_start : step.src_end]
        if step.tag == "equal":
            lines += [*pending, *(DiffLine("same", line) for line in removed_part)]
            pending = []
            continue
        added_part = new[step.dest_start : step.dest_end]
        removed, added = removed + len(removed_part), added + len(added_part)
        # Show removed lines before the lines that replace them, whatever the order of the steps.
        lines += [DiffLine("removed", line) for line in removed_part]
        pending += [DiffLine("added", line) for line in added_part]
    lines += pending
    return TextDifference(_skip_equal_parts(lines), added, removed, is_cut)


def _split_lines(raw: bytes) -> list[str]:
    is_json, value = json_view.read_json(raw)
    text = json.dumps(value, indent=2, ensure_ascii=False) if is_json else value
    return [line[:_LONGEST_LINE] for line in text.splitlines()]


def _skip_equal_parts(lines: list[DiffLine]) -> list[DiffLine]:
    near = [False] * len(lines)
    for position, line in enumerate(lines):
        if line.kind != "same":
            for around in range(max(0, position - _CONTEXT), min(len(lines), position + _CONTEXT + 1)):
                near[around] = True
    shown: list[DiffLine] = []
    skipped = 0
    for line, is_near in zip(lines, near, strict=True):
        if is_near:
            if skipped:
                shown.append(DiffLine("skip", f"{skipped} equal lines"))
                skipped = 0
            shown.append(line)
        else:
            skipped += 1
    if skipped:
        shown.append(DiffLine("skip", f"{skipped} equal lines"))
    return shown
