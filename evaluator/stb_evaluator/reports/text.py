"""Reports as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import orjson

from stb_core.values import measure_text, p_text, score_with_interval
from stb_evaluator.reports.content import Report
from stb_evaluator.scores import MACRO, MICRO, UNSIMULATED, ResultRow
from stb_evaluator.scores.cells import groups_of, score_cell, starred
from stb_evaluator.scores.trial_facts import KINDS, share_columns

CSV_COLUMNS = (
    *("run", "run_b", "metric", "block", "group", "value", "unit", "ci_low", "ci_high", "interval_method"),
    *("p", "p_holm", "n", "n_total", "n_error", "missing", "std_rounds", "rounds", "complete"),
    *("judge", "rubric", "manifest_hash", "n_calls", *(f"{kind}_percent" for kind in KINDS)),
)


def as_json(report: Report) -> bytes:
    """Everything, the scores under ``rows``."""
    document = asdict(report)
    document["rows"] = document.pop("scores")
    document["headline"] = document.pop("lines")
    return orjson.dumps(document, option=orjson.OPT_INDENT_2, default=str)


def as_csv(report: Report) -> bytes:
    """One line a value: scores, differences and measures; columns that do not apply stay empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in [*report.scores, *report.unsimulated, *report.comparisons, *report.measures]:
        unit = row.get("unit", "points" if "run_b" in row else "%")
        writer.writerow({name: plain_cell(value) for name, value in (row | {"unit": unit}).items()})
    return out.getvalue().encode()


def plain_cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula is quoted."""
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return f"'{value}"
    return value


def as_markdown(report: Report) -> bytes:
    """Tables with intervals; the two blocks apart."""
    parts = [f"# {report.title}", "", *(f"- {line}" for line in report.lines), ""]
    for title, table in tables_of(report):
        parts += [f"## {title}", "", *_markdown_table(table), ""]
    return ("\n".join(parts).rstrip() + "\n").encode()


def _markdown_table(table: Sequence[Sequence[str]]) -> Iterable[str]:
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in table]
    yield "| " + " | ".join(escaped[0]) + " |"
    yield "|" + "---|" * len(escaped[0])
    for line in escaped[1:]:
        yield "| " + " | ".join(line) + " |"


def tables_of(report: Report) -> list[tuple[str, list[list[str]]]]:
    """All tables as texts, the first line of each its heads."""
    tables = [
        ("Solvable pass rate, faithful, % [95 % interval]", _score_table(report.scores, "faithful")),
        ("Solvable pass rate, reference, % ± spread of rounds", _score_table(report.scores, "reference")),
    ]
    if report.comparisons:
        tables.append(("Paired differences, macro", _pair_table(report.comparisons)))
    if report.ranks:
        tables.append(
            ("Places that the runs may have, all together with 95 % confidence", _rank_table(report))
        )
    if report.unsimulated:
        cells = _score_table(report.unsimulated, UNSIMULATED)
        tables.append(("Solvable pass rate of trials without made-up answers, % [95 % interval]", cells))
    tables += [
        ("Provenance of tool answers, % of calls", _origin_table(report.scores)),
        ("Trajectories, all queries", _measure_table(report.measures)),
        ("Who consumed what", _consumption_table(report.scores)),
        ("Consistency of the judge", _consistency_table(report.consistency)),
        ("Runs", _run_table(report.runs)),
    ]
    tables += _published_tables(report)
    return [(title, table) for title, table in tables if len(table) > 1]


def paper_tables(report: Report) -> list[tuple[str, list[list[str]]]]:
    """The tables that a paper shows: scores, published scores and paired differences, as texts."""
    judges = ", ".join(sorted({row["judge"] for row in report.scores}))
    scores = _score_table(report.scores, "faithful")
    tables = [(f"Solvable pass rate, % [95 % interval]; judge {judges}", scores), *_published_tables(report)]
    if report.comparisons:
        tables.append(("Paired differences of the macro score, in points", _pair_table(report.comparisons)))
    return tables


def _published_tables(report: Report) -> list[tuple[str, list[list[str]]]]:
    return [
        (
            f"{one.title} (judge {one.judge}, {one.date}; {one.source})",
            [["system", *one.groups], *([name, *cells] for name, cells in one.rows.items())],
        )
        for one in report.published
    ]


def _score_table(rows: Sequence[ResultRow], block: str) -> list[list[str]]:
    mine = [row for row in rows if row["block"] == block]
    groups = groups_of(mine)
    lines: dict[str, dict[str, str]] = {}
    for row in mine:
        lines.setdefault(row["run"], {})[row["group"]] = score_cell(row, " ± ")
    body = [[run, *(cells.get(group, "") for group in groups)] for run, cells in lines.items()]
    return [["run", *groups], *body]


def _pair_table(rows: Sequence[ResultRow]) -> list[list[str]]:
    heads = ["run", "against", "difference [95 %]", "p", "p (Holm)", "McNemar's p"]
    heads += ["better / equal / worse", "detectable"]
    body = [
        [
            row["run"],
            row["run_b"],
            score_with_interval(row["value"], row["ci_low"], row["ci_high"], signed=True),
            p_text(row["p"]),
            p_text(row["p_holm"]),
            p_text(row["p_mcnemar"]) if row["n"] else "",
            f"{row['n_better']} / {row['n_equal']} / {row['n_worse']}",
            _number(row["detectable"], 1),
        ]
        for row in rows
        if row["group"] == MACRO
    ]
    return [heads, *body]


def _rank_table(report: Report) -> list[list[str]]:
    ranked = [one for one in report.ranks if not one["unranked"]]
    body = [
        [one["run"], str(one["rank"]), f"{one['rank_low']} to {one['rank_high']}"]
        for one in sorted(ranked, key=lambda one: (one["rank"], one["rank_low"]))
    ]
    body += [[one["run"], "not ranked", one["unranked"]] for one in report.ranks if one["unranked"]]
    return [["run", "place by score", "may be"], *body]


def _measure_table(rows: Sequence[ResultRow]) -> list[list[str]]:
    mine = [row for row in rows if row["group"] == MICRO]
    units = {row["metric"]: row["unit"] for row in mine}
    lines: dict[str, dict[str, str]] = {}
    for row in mine:
        lines.setdefault(row["run"], {})[row["metric"]] = _measure_cell(row)
    body = [[run, *(cells.get(name, "") for name in units)] for run, cells in lines.items()]
    heads = [f"{name.replace('_', ' ')}{', %' if unit == '%' else ''}" for name, unit in units.items()]
    return [["run", *heads], *body]


def _measure_cell(row: ResultRow) -> str:
    return starred(measure_text(row["value"], row["ci_low"], row["ci_high"], row["unit"]), row)


def _consumption_table(rows: Sequence[ResultRow]) -> list[list[str]]:
    """Tokens and USD of agent, simulator and judge; empty for a payer of which nothing is recorded."""
    payers = "agent", "simulator", "judge"
    mine = [row for row in rows if (row["block"], row["group"]) == ("faithful", MICRO)]
    heads = [f"{payer}, {what}" for payer in payers for what in ("tokens", "USD")]
    body = [
        [row["run"]]
        + [
            cell
            for payer in payers
            for cell in (_tokens(row[f"{payer}_tokens"]), _number(row[f"{payer}_cost_usd"], 4))
        ]
        for row in mine
    ]
    return [["run", *heads], *body]


def _origin_table(rows: Sequence[ResultRow]) -> list[list[str]]:
    """Where the answers to the calls of each run came from."""
    mine = [row for row in rows if (row["block"], row["group"]) == ("faithful", MICRO)]
    columns = share_columns(mine)
    body = [[row["run"], str(row["n_calls"]), *(_number(row[name], 1) for name in columns)] for row in mine]
    return [["run", "calls", *columns.values()], *body]


def _tokens(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def _consistency_table(rows: Sequence[ResultRow]) -> list[list[str]]:
    heads = [
        "run",
        "judge",
        "answers",
        "rounds",
        "unanimous, %",
        "Fleiss' kappa",
        "Krippendorff's alpha (ordinal)",
    ]
    body = [
        [
            row["run"],
            row["judge"],
            str(row["n"]),
            str(row["rounds"]),
            _number(row["unanimous"], 1),
            _number(row["fleiss_kappa"], 3),
            _number(row["krippendorff_alpha"], 3),
        ]
        for row in rows
    ]
    return [heads, *body]


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _run_table(rows: Sequence[ResultRow]) -> list[list[str]]:
    names = "run", "dataset", "agent", "model", "mode", "trials", "judge", "rubric", "manifest_hash"
    body = [[str(row[name] if row[name] is not None else "")[:64] for name in names] for row in rows]
    return [[name.replace("_", " ") for name in names], *body]
