"""Read MirrorAPI-Bench (arXiv:2503.20527): documents, requests, real answers and a model's predictions.

Each line is one JSON object: ``{"api_doc", "request", "prediction", "label"}``. A folder holds one file per split;
``reference_metrics.json`` beside them may hold published figures.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stb_core.errors import FormatError, NotFoundError
from stb_core.files import read_document
from stb_core.values import JsonObject

REFERENCE = "reference_metrics.json"


@dataclass(frozen=True)
class FidelityCase:
    """One recorded call: its document, its request, the real answer (``label``) and a prediction, if any."""

    split: str
    number: int
    api_doc: JsonObject
    request: JsonObject
    label: str
    prediction: str | None

    def predicted(self, text: str) -> FidelityCase:
        """The case with another prediction."""
        return replace(self, prediction=text)


def read_bench(path: Path) -> list[FidelityCase]:
    """The cases of a file, or of all ``*.jsonl`` files of a folder by name.

    Raises:
        NotFoundError: there is no such file, or the folder has none.
        FormatError: a line is not a case; the message names file and line.
    """
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not path.exists() or not files:
        raise NotFoundError(
            f"There is no bench at {path}.",
            hint="Name a JSON Lines file of MirrorAPI-Bench rows, or a folder of such files.",
        )
    return [case for file in files for case in _read_file(file)]


def _read_file(file: Path) -> list[FidelityCase]:
    cases: list[FidelityCase] = []
    try:
        text = read_document(file).decode()
    except (FormatError, UnicodeDecodeError) as problem:
        reason = problem.message if isinstance(problem, FormatError) else str(problem)
        raise FormatError(f"{file} cannot be read: {reason}.", hint="Name a file of JSON Lines.") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            cases.append(_case(file, number, line))
    if not cases:
        raise FormatError(f"{file} holds no rows.", hint="Name a file of MirrorAPI-Bench rows.")
    return cases


def _case(file: Path, number: int, line: str) -> FidelityCase:
    try:
        row = json.loads(line)
        prediction = row.get("prediction")
        case = FidelityCase(
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
    """Split → published figures; empty where the folder has none."""
    file = (path if path.is_dir() else path.parent) / REFERENCE
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def released_bleu4(reference: dict[str, Any], split: str) -> float | None:
    """The published BLEU-4 of a split, in percent; None where it is not known."""
    try:
        value = reference[split]["reproduced"]["bleu-4"]
    except (KeyError, TypeError):
        return None
    return float(value) if isinstance(value, int | float) else None
