"""What commands print: tables for people, one JSON document for programs; logs and progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Container, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, cast

import click
import orjson
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from stb_core.cli.output import GuardedStream, guard
from stb_core.cli.tables import TextTable, fit_table
from stb_core.settings import output_columns
from stb_core.values.plain_text import fit_encoding

_WIDTH_OF_FILES = 200


class GuardedConsole(Console):
    """A console whose own styles reach the terminal, and whose texts are guarded as all other output is."""

    @property
    def file(self) -> IO[str]:
        """Where it writes to: past the guard, since ``_render_buffer`` does its work."""
        stream = super().file
        return cast("IO[str]", stream.allowing_styles()) if isinstance(stream, GuardedStream) else stream

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        return super()._render_buffer(
            segment if segment.control else Segment(guard(segment.text), segment.style) for segment in buffer
        )


# Progress and notes go to stderr, so that stdout holds nothing but the result.
notes = GuardedConsole(stderr=True, highlight=False)


def emit_json(document: Mapping[str, Any], *, indent: bool = True) -> None:
    """Print one JSON document, which stays the same whatever the encoding of stdout is."""
    try:
        option = orjson.OPT_INDENT_2 if indent else None
        text = orjson.dumps(document, option=option, default=str).decode()
    except TypeError:  # a file's name that the locale could not decode
        text = json.dumps(document, indent=2 if indent else None, default=str)
    click.echo(fit_encoding(text, sys.stdout.encoding, literally=True))


def emit_table(
    rows: Sequence[Mapping[str, Any]], columns: Iterable[str], *, title: str = "", digits: int = 1
) -> None:
    """Print rows as a table; a column may be given as ``"name"`` or ``"name:Heading"``.

    Fractions are shown with ``digits`` digits after the point. What is too wide for the terminal is arranged
    otherwise, see ``fit_table``.
    """
    named = [(column.split(":", 1)[0], column.split(":", 1)[-1]) for column in columns]
    cells = [[_shown(_cell(row.get(name), digits)) for name, _ in named] for row in rows]
    numeric = {
        heading
        for name, heading in named
        if rows and all(isinstance(row.get(name), int | float | None) for row in rows)
    }
    out = _stdout()
    for table in fit_table(TextTable([heading for _, heading in named], cells), out.width):
        if table.facts:
            out.print(Text("; ".join(f"{head}: {cell}" for head, cell in table.facts)))
        out.print(_drawn(table, numeric, title=title))


def _drawn(table: TextTable, numeric: Container[str], *, title: str) -> Table:
    drawn = Table(
        box=None if table.is_record else box.SIMPLE_HEAD,
        show_header=not table.is_record,
        title=title or None,
        title_justify="left",
        pad_edge=False,
        padding=(0, 0) if table.is_close else (0, 1),
    )
    for head in table.heads:
        drawn.add_column(head, justify="right" if head in numeric else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*map(Text, row))
    if table.is_record:
        drawn.add_row()
    return drawn


def print_texts(texts: Iterable[Text]) -> None:
    """Print styled texts on stdout, each on lines of its own."""
    out = _stdout()
    for text in texts:
        out.print(text)


def _stdout() -> Console:
    out = GuardedConsole(highlight=False)
    is_known = out.is_terminal or output_columns() is not None
    return out if is_known else GuardedConsole(highlight=False, width=_WIDTH_OF_FILES)


def _cell(value: Any, digits: int) -> str:
    if value is None:
        return ""
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _shown(text: str) -> str:
    """Text as it will leave, so that the columns of a table are as wide as what stands in them."""
    return fit_encoding(guard(text), sys.stdout.encoding)


def print_note(text: str) -> None:
    """A line for the person, on stderr; never part of the result."""
    notes.print(Text(guard(text)), soft_wrap=True)


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
        redirect_stdout=False,
        redirect_stderr=False,
        disable=quiet or not notes.is_terminal,
    )


@contextmanager
def counted(what: str, total: int) -> Generator[Callable[[int], None]]:
    """A progress bar over ``total`` things; call what it gives with how many more are done."""
    with progress() as bar:
        task = bar.add_task(what, total=total, note="")
        yield lambda number: bar.advance(task, number)
