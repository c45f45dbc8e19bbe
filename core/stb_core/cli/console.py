"""What commands print: tables for people, one JSON document for programs; logs and progress on stderr."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click
import orjson
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

# Progress and notes go to stderr, so that stdout holds nothing but the result.
notes = Console(stderr=True, highlight=False)


def emit_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document."""
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2, default=str))


def emit_table(
    rows: Sequence[Mapping[str, Any]], columns: Iterable[str], *, title: str = "", digits: int = 1
) -> None:
    """Print rows as a table; a column may be given as ``"name"`` or ``"name:Heading"``.

    Fractions are shown with ``digits`` digits after the point.
    """
    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    named = [(column.split(":", 1)[0], column.split(":", 1)[-1]) for column in columns]
    for name, heading in named:
        numeric = all(isinstance(row.get(name), int | float | None) for row in rows)
        table.add_column(heading, justify="right" if numeric and rows else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(name), digits)) for name, _ in named))
    width = None if (out := Console()).is_terminal else 200
    (Console(width=width, highlight=False) if width else out).print(table)


def _cell(value: Any, digits: int) -> str:
    if value is None:
        return ""
    return f"{value:.{digits}f}" if isinstance(value, float) else escape_control_characters(str(value))


def escape_control_characters(text: str) -> str:
    """Foreign text without the control characters that a terminal would obey."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def print_note(text: str) -> None:
    """A line for the person, on stderr; never part of the result."""
    notes.print(Text(text), soft_wrap=True)


def progress(*, quiet: bool = False) -> Progress:
    """A progress bar on stderr; silent when stderr is not a terminal or ``quiet``."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=notes,
        transient=True,
        disable=quiet or not notes.is_terminal,
    )


@contextmanager
def counted(what: str, total: int) -> Generator[Callable[[int], None]]:
    """A progress bar over ``total`` things; call what it gives with how many more are done."""
    with progress() as bar:
        task = bar.add_task(what, total=total, note="")
        yield lambda number: bar.advance(task, number)
