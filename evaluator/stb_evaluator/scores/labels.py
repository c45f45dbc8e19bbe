"""Human labels of answers, and scores corrected by them.

A file of labels is CSV with a header, or JSON: a list of objects. Each row names ``query`` and ``label``
(solved, unsure, unsolved, or 1, 0.5, 0), and may name ``group`` and ``run``; without them it applies to
every group, or every run, with such a query. The labelled queries should be a random sample. Columns of CSV are
separated by commas, semicolons or tabs.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stb_core import json_text
from stb_core.errors import FormatError, NotFoundError, UsageError
from stb_core.files import read_document
from stb_core.values import POINTS, SOPR, Status, group_order
from stb_evaluator.judges import Panel
from stb_evaluator.scores.pass_rate import MACRO, MICRO, ResultRow, query_scores
from stb_evaluator.scores.points import faithful_table
from stb_evaluator.scores.verdict_table import VerdictTable
from stb_evaluator.scores.win_rate import solved_by_majority
from stb_evaluator.statistics import Rate, judge_quality, ppi_mean

CORRECTED = "corrected"
QUALITY = "judge"

_SEPARATOR_LINE = re.compile(r"sep=([,;\t])", re.IGNORECASE)


@dataclass(frozen=True)
class LabelSet:
    """Labels by (run, group, query); an empty run or group stands for any."""

    points: Mapping[tuple[str, str, str], float]

    def of(self, run: str, group: str, query_id: str) -> float:
        """The label of one answer, the most specific; NaN without any."""
        for place in ((run, group, query_id), (run, "", query_id), ("", group, query_id), ("", "", query_id)):
            if place in self.points:
                return self.points[place]
        return float("nan")

    def n_unknown(self, expected: Mapping[str, Mapping[str, Sequence[str]]]) -> int:
        """How many labels belong to no expected query of these runs; ``expected``: ids by run and group."""
        known = {
            (one_run, one_group, query_id)
            for run, groups in expected.items()
            for group, ids in groups.items()
            for query_id in ids
            for one_run in (run, "")
            for one_group in (group, "")
        }
        return sum(place not in known for place in self.points)


def read_labels(path: Path) -> LabelSet:
    """Read a file of labels.

    Raises:
        NotFoundError: there is no such file.
        UsageError: the file is not in this form, has no label, or contradicts itself.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no file {path}.", hint="Give a CSV or JSON file of labels.")
    try:
        rows = _read_rows(path)
    except FormatError as problem:
        raise UsageError(f"{path} {problem.message}.") from None
    except (ValueError, csv.Error) as problem:
        raise UsageError(f"{path} cannot be read: {' '.join(str(problem).split())[:100]}.") from None
    points: dict[tuple[str, str, str], float] = {}
    read_at: dict[tuple[str, str, str], str] = {}
    for where, row in rows:
        place = _read_place(row) if isinstance(row, dict) else ("", "", "")
        if not place[2]:
            raise UsageError(f"{path}, {where}, names no query.", hint="It needs query and label.")
        point = _read_point(row.get("label"), path, where)
        if points.setdefault(place, point) != point:
            raise UsageError(
                f"{path} contradicts itself about {_in_words(place)}: see {read_at[place]} and {where}.",
                hint="Keep one label of each answer.",
            )
        read_at.setdefault(place, where)
    if not points:
        raise UsageError(
            f"{path} holds no label.", hint="It needs the columns query and label, and a line per label."
        )
    return LabelSet(points)


def _read_rows(path: Path) -> list[tuple[str, Any]]:
    """The rows of a file, each with its place there in words."""
    text = read_document(path).decode("utf-8-sig")
    if path.suffix == ".json":
        found = json_text.parse(text.encode())
        rows = found if isinstance(found, list) else [found]
        return [(f"object {number}", row) for number, row in enumerate(rows, start=1)]
    return _read_csv(text)


def _read_csv(text: str) -> list[tuple[str, Any]]:
    """The lines below the header; the separator is the one that separates ``query`` from the other columns."""
    first, _, rest = text.partition("\n")
    named = _SEPARATOR_LINE.fullmatch(first.strip())  # Excel reads and writes such a line
    lines_before = 1 if named else 0
    header = (rest if named else text).partition("\n")[0]
    separator = named[1] if named else next((one for one in ",;\t" if "query" in _columns(header, one)), ",")
    reader = csv.DictReader(io.StringIO(rest if named else text), delimiter=separator)
    reader.fieldnames = [name.strip().casefold() for name in reader.fieldnames or ()]
    return [(f"line {reader.line_num + lines_before}", row) for row in reader]


def _columns(header: str, separator: str) -> list[str]:
    return [name.strip(' "\r').casefold() for name in header.split(separator)]


def _read_place(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Run, group and query of a label; "" for what it does not name."""
    named = [row.get(name) for name in ("run", "group", "query")]
    run, group, query = ("" if name is None else str(name).strip() for name in named)
    return run, group, query


def _in_words(place: tuple[str, str, str]) -> str:
    run, group, query = place
    return f"query {query}" + (f" of {group}" if group else "") + (f" in the run {run}" if run else "")


def _read_point(label: Any, path: Path, where: str) -> float:
    word = str(label).strip().lower().replace(",", ".")  # a decimal comma
    if word in {Status.SOLVED, Status.UNSURE, Status.UNSOLVED}:
        return POINTS[Status(word)]
    if word in {"0", "0.0", "0.5", "1", "1.0"}:
        return float(word)
    raise UsageError(
        f"{path}, {where}, has the label {str(label)[:40]!r}.",
        hint="A label is solved, unsure or unsolved, or 1, 0.5 or 0.",
    )


def corrected_rows(
    run: str, table: VerdictTable, labels: LabelSet, panel: Panel, *, metric: str = SOPR
) -> list[ResultRow]:
    """Scores as people would give them, with intervals, and the accuracy of the judge.

    A group needs two labels; ``macro`` and ``micro`` need them in every group.
    """
    scores = query_scores(table)
    human = {place: labels.of(run, *place) for place in scores}
    groups = sorted({group for group, _ in scores}, key=group_order)
    labelled = [g for g in groups if sum(not np.isnan(human[p]) for p in scores if p[0] == g) > 1]
    names = [*labelled, *([MACRO, MICRO] if labelled == groups and groups else [])]
    is_complete = all(faithful_table(table, group).is_complete for group in table.expected)
    shared = {"run": run, "judge": panel.name, "rubric": panel.rubric, "complete": is_complete}
    rows = [{**shared, "metric": metric, **_corrected(name, scores, human)} for name in names]
    return rows + [{**shared, **row} for row in _quality(table, human)]


def _corrected(
    name: str, scores: Mapping[tuple[str, str], float], human: Mapping[tuple[str, str], float]
) -> ResultRow:
    places = [place for place in scores if name in {place[0], MACRO, MICRO}]
    found = ppi_mean(
        np.array([scores[place] for place in places]),
        np.array([human[place] for place in places]),
        groups=[group for group, _ in places],
        weighting="micro" if name == MICRO else "macro",
    )
    interval = found.interval.around(found.value).scaled(100)
    return {
        "block": CORRECTED,
        "group": name,
        "value": found.value * 100,
        "unit": "%",
        "ci_low": min(max(0.0, interval.low), found.value * 100),
        "ci_high": max(min(100.0, interval.high), found.value * 100),
        "interval_method": found.interval.method,
        "n": len(places),
        "n_labelled": found.n_labelled,
        "judge_weight": found.tuning,
    }


def _quality(table: VerdictTable, human: Mapping[tuple[str, str], float]) -> list[ResultRow]:
    """Sensitivity, specificity and accuracy of the majority verdict, on answers labelled yes or no."""
    pairs = [
        (said, label == 1.0)
        for place, label in human.items()
        if label in {0.0, 1.0} and (said := solved_by_majority(table, (*place, 0))) is not None
    ]
    if not pairs:
        return []
    found = judge_quality([said for said, _ in pairs], [label for _, label in pairs])
    rates: Sequence[tuple[str, Rate]] = (
        ("sensitivity", found.sensitivity),
        ("specificity", found.specificity),
        ("accuracy", found.accuracy),
    )
    return [
        {
            "metric": name,
            "block": QUALITY,
            "group": MICRO,
            "value": None if rate.value is None else rate.value * 100,
            "unit": "%",
            "ci_low": None if rate.interval is None else rate.interval.low * 100,
            "ci_high": None if rate.interval is None else rate.interval.high * 100,
            "interval_method": "" if rate.interval is None else rate.interval.method,
            "n": rate.n,
        }
        for name, rate in rates
    ]
