"""MirrorAPI-Bench (arXiv:2503.20527) in files: documents, requests, real answers and a model's predictions.

One JSON object a line: ``{"api_doc", "request", "prediction", "label"}``. A folder holds one file a
split; ``reference_metrics.json`` beside them may tell what others measured.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stb_core.errors import FormatError, NotFoundError
from stb_core.values.calls import JsonObject

REFERENCE = "reference_metrics.json"


@dataclass(frozen=True)
class Case:
    """One recorded call: its document, its request, the real answer and, once there is one, a prediction."""

    split: str
    number: int
    api_doc: JsonObject
    request: JsonObject
    label: str
    prediction: str | None

    def predicted(self, text: str) -> Case:
        """The same call with another prediction."""
        return replace(self, prediction=text)


def read_bench(path: Path) -> list[Case]:
    """The cases of a file, or of all ``*.jsonl`` files of a folder by name.

    Raises:
        NotFoundError: there is nothing at that path.
        FormatError: a line is not a case; file and line are named.
    """
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not path.exists() or not files:
        raise NotFoundError(
            f"There is no bench at {path}.",
            hint="Name a JSON Lines file of MirrorAPI-Bench rows, or a folder of such files.",
        )
    return [case for file in files for case in _read_file(file)]


def _read_file(file: Path) -> list[Case]:
    cases: list[Case] = []
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = " ".join(str(problem).split())
        raise FormatError(f"{file} cannot be read: {reason}.", hint="Name a file of JSON Lines.") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            cases.append(_case(file, number, line))
    if not cases:
        raise FormatError(f"{file} holds no rows.", hint="Name a file of MirrorAPI-Bench rows.")
    return cases


def _case(file: Path, number: int, line: str) -> Case:
    try:
        row = json.loads(line)
        prediction = row.get("prediction")
        case = Case(
            split=file.stem,
            number=number,
            api_doc=row["api_doc"],
            request=row["request"],
            label=row["label"],
            prediction=prediction,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        case = None
    if (
        case is None
        or not isinstance(case.api_doc, dict)
        or not isinstance(case.request, dict)
        or not isinstance(case.label, str)
        or not isinstance(case.prediction, str | None)
    ):
        raise FormatError(
            f"Line {number} of {file} is not a bench row.",
            hint='Each line is {"api_doc": {…}, "request": {…}, "prediction": "…", "label": "…"}.',
        )
    return case


def read_reference(path: Path) -> dict[str, Any]:
    """What others measured, by split; empty when the folder does not tell."""
    file = (path if path.is_dir() else path.parent) / REFERENCE
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def released_bleu4(reference: dict[str, Any], split: str) -> float | None:
    """The released BLEU-4 of a split, in percent."""
    try:
        value = reference[split]["reproduced"]["bleu-4"]
    except (KeyError, TypeError):
        return None
    return float(value) if isinstance(value, int | float) else None
