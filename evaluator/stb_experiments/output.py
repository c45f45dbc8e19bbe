"""The result of an experiment, and how it is written: rows, data, manifest, a page in Markdown, plots."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import orjson

from stb_core import cli
from stb_core.cli import console
from stb_core.files import write_files
from stb_evaluator.reports import plain_cell
from stb_experiments.originals import Original
from stb_experiments.plots import Chart, draw_chart

FORMAT = "stabletoolbench-experiment/1"
ExperimentRow = dict[str, Any]
"""One row of figures: column → value."""


@dataclass(frozen=True)
class Result:
    """The result of an experiment.

    Attributes:
        name: of the experiment, as in ``stb experiment NAME``.
        title: of its page.
        rows: the figures, for programs.
        tables: title → columns that are shown (``"name"`` or ``"name:Heading"``). A row belongs to the table that
            its ``table`` names, or to the one without a title.
        settings: all that the result depends on, for the manifest.
        passed: whether everything held that the experiment checks.
        says: the finding, in sentences.
        limits: what the experiment does not show.
        shown: rows for people, in place of ``rows``.
        data: the raw data from which the rows were computed.
        charts: drawn where matplotlib is installed.
        commands: that were run.
    """

    name: str
    title: str
    rows: Sequence[ExperimentRow]
    tables: Mapping[str, Sequence[str]]
    settings: Mapping[str, Any]
    passed: bool
    says: Sequence[str]
    limits: Sequence[str]
    shown: Sequence[ExperimentRow] = ()
    data: Sequence[ExperimentRow] = ()
    charts: Sequence[Chart] = ()
    commands: Sequence[str] = field(default=(), repr=False)

    def sections(self) -> Iterator[tuple[str, Sequence[str], list[ExperimentRow]]]:
        """Title, columns and rows of each table."""
        for title, columns in self.tables.items():
            yield title, columns, [row for row in self.shown or self.rows if row.get("table", "") == title]

    def manifest(self) -> dict[str, Any]:
        """Everything that the result depends on."""
        return {
            "format": FORMAT,
            "experiment": self.name,
            "version": importlib.metadata.version("stabletoolbench"),
            "python": platform.python_version(),
            **self.settings,
            "passed": self.passed,
            "commands": list(self.commands),
        }


def describe_original(original: Original) -> dict[str, Any]:
    """A dataset, for the manifest of an experiment."""
    return {
        "dataset": original.name,
        "dataset_hash": original.content_hash,
        "responses_hash": original.responses_hash,
        "queries": len(original.queries),
        "responses": len(original.responses),
    }


def write_result(result: Result, folder: Path) -> list[str]:
    """Write ``rows.csv``, ``data.jsonl``, ``manifest.json``, ``README.md`` and plots; returns their names.

    Plots are left out where matplotlib is not installed.

    Raises:
        StoreError: the folder cannot be written.
    """
    plots = {f"{chart.name}.svg": svg for chart in result.charts if (svg := draw_chart(chart))}
    files = {
        "rows.csv": _csv(result.rows),
        "data.jsonl": b"".join(orjson.dumps(row) + b"\n" for row in result.data),
        "manifest.json": orjson.dumps(result.manifest(), option=orjson.OPT_INDENT_2) + b"\n",
        "README.md": result_page(result, list(plots)).encode(),
        **{name: svg.encode() for name, svg in plots.items()},
    }
    written = {folder / name: content for name, content in files.items() if content}
    write_files(written, force=True, folder=folder)
    return [name for name, content in files.items() if content]


def _csv(rows: Sequence[ExperimentRow]) -> bytes:
    out = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: plain_cell(value) for name, value in row.items()} for row in rows)
    return out.getvalue().encode()


def result_page(result: Result, plots: Sequence[str] = ()) -> str:
    """The page: the finding, the tables, the plots, the limits, the settings."""
    settings = {name: value for name, value in result.settings.items() if value not in (None, "", [])}
    lines = [
        f"# {result.title}",
        "",
        *result.says,
        "",
        *(line for section in result.sections() for line in _table(*section)),
        *(f"![{name.removesuffix('.svg')}]({name})\n" for name in plots),
        "What this does not show:",
        "",
        *(f"- {limit}" for limit in result.limits),
        "",
        "Made by `stb experiment " + result.name + "` with " + _listed(settings) + ".",
    ]
    return "\n".join(lines) + "\n"


def _table(title: str, columns: Sequence[str], rows: Sequence[ExperimentRow]) -> Iterator[str]:
    named = [(column.split(":", 1)[0], column.split(":", 1)[-1]) for column in columns]
    yield from (f"## {title}", "") if title else ()
    yield "| " + " | ".join(heading for _, heading in named) + " |"
    yield "|" + "---|" * len(named)
    yield from ("| " + " | ".join(_cell(row.get(name)) for name, _ in named) + " |" for row in rows)
    yield ""


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:.2f}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _listed(settings: Mapping[str, Any]) -> str:
    def shown(value: Any) -> str:
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

    return "; ".join(f"{name.replace('_', ' ')} `{shown(value)}`" for name, value in settings.items())


def finish_experiment(result: Result, output: Path | None, *, as_json: bool) -> None:
    """Write and print a result; exit code 1 where it has not passed."""
    files = write_result(result, output) if output else []
    if as_json:
        settings = dict(result.settings)
        console.emit_json(
            {"experiment": result.name, "passed": result.passed, "settings": settings, "rows": result.rows}
        )
    else:
        for title, columns, rows in result.sections():
            console.emit_table(rows, columns, title=title, digits=2)
        for line in result.says:
            click.echo(line)
        if files:
            console.print_note(f"Written into {output}: {', '.join(files)}.")
    if not result.passed:
        cli.exit_with(1)
