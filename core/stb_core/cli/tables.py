"""Tables that stay readable on a narrow terminal: lifted, turned, or as records; as texts, before they are drawn.

A table that is too wide first loses the columns of texts that say the same in every row; they are told above it.
Then it is drawn close. If that is not enough, a table of figures is turned, as many of its rows side by side as fit;
any other is split where its first column changes, or else written record by record, a line per column.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from rich.cells import cell_len

# Between two columns, and at both edges of a table.
_GAP, _CLOSE_GAP, _EDGES = 3, 1, 2
# Longer texts may be broken: at spaces, or anywhere if they have none.
_PROSE, _FOLDED = 30, 40
_FIGURE = re.compile(r"[-+±<]?[\d.,]+.*|\?\*?|")


@dataclass(frozen=True)
class TextTable:
    """Cells as texts: ``rows`` of as many cells as ``heads``. ``facts`` hold for every row, by name.

    It is drawn with little space between columns if it ``is_close``, without heads if it ``is_record``.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    facts: Sequence[tuple[str, str]] = ()
    is_close: bool = False
    is_record: bool = False

    @property
    def width(self) -> int:
        """The columns of a terminal that it needs at least without breaking what should stay whole."""
        widths = (
            max([_longest_word(head), *(_least_width(row[place]) for row in self.rows)])
            for place, head in enumerate(self.heads)
        )
        gap = _CLOSE_GAP if self.is_close else _GAP
        return sum(widths) + gap * (len(self.heads) - 1) + _EDGES


def fit_table(table: TextTable, width: int) -> list[TextTable]:
    """The table, or what is to be drawn in its place where it is wider than ``width``."""
    if table.width <= width or not table.rows:
        return [_with_short_heads(table, width)]
    lifted = _lift(table)
    for arranged in (lifted, replace(lifted, is_close=True)):
        if arranged.width <= width:
            return [_with_short_heads(arranged, width)]
    if all(_is_figure(cell) for row in lifted.rows for cell in row[1:]):
        return list(_turn(lifted, width))
    parts = _split(table)
    if len(parts) > 1:
        return [fitted for part in parts for fitted in fit_table(part, width)]
    return list(_records(table))


def _split(table: TextTable) -> list[TextTable]:
    """A table for each name in the first column, if each has several rows, one below the other."""
    parts = [list(rows) for _, rows in groupby(table.rows, key=lambda row: row[0])]
    is_split = all(len(rows) > 1 for rows in parts)
    return [replace(table, rows=rows) for rows in parts] if is_split else [table]


def _lift(table: TextTable) -> TextTable:
    """The table without the columns that say the same in every row; unchanged if no other column would be left."""
    if len(table.rows) < 2:
        return table
    constant = [
        len(cells := {row[place] for row in table.rows}) == 1
        and (cells == {""} or not all(map(_is_figure, cells)))
        for place in range(len(table.heads))
    ]
    if all(constant):
        return table
    facts = [
        (head, cell) for head, cell, same in zip(table.heads, table.rows[0], constant, strict=True) if same
    ]
    kept = [place for place, same in enumerate(constant) if not same]
    return TextTable(
        [table.heads[place] for place in kept],
        [[row[place] for place in kept] for row in table.rows],
        [(head, cell) for head, cell in facts if cell],
    )


def _turn(table: TextTable, width: int) -> Iterator[TextTable]:
    """Tables with a line per column and a column per row, each with as many as fit, and one at least."""
    left = list(table.rows)
    facts = table.facts
    while left:
        count = len(left)
        while count > 1 and _turned(table.heads, left[:count]).width > width:
            count -= 1
        yield replace(_turned(table.heads, left[:count]), facts=facts)
        left, facts = left[count:], ()


def _turned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> TextTable:
    names = [heads[0], *(row[0] for row in rows)]
    return TextTable(
        names, [[head, *cells] for head, *cells in zip(heads[1:], *(row[1:] for row in rows), strict=True)]
    )


def _records(table: TextTable) -> Iterator[TextTable]:
    """A table of names and values per row; cells that are empty are left out."""
    for row in table.rows:
        cells = [[head, cell] for head, cell in zip(table.heads, row, strict=True) if cell]
        yield TextTable(["", ""], cells, is_record=True)


def _with_short_heads(table: TextTable, width: int) -> TextTable:
    """The table with heads in several lines where they are wider than what stands below, if space is short."""
    if replace(table, rows=[*table.rows, table.heads]).width <= width:
        return table
    heads = [
        textwrap.fill(head, max([_longest_word(head), *(_least_width(row[place]) for row in table.rows)]))
        for place, head in enumerate(table.heads)
    ]
    return replace(table, heads=heads)


def _is_figure(cell: str) -> bool:
    return bool(_FIGURE.fullmatch(cell))


def _longest_word(text: str) -> int:
    # A name may be broken after the signs that join its parts.
    return max(map(cell_len, re.split(r"\s|(?<=[-_./])", text)), default=0)


def _least_width(cell: str) -> int:
    width = max(map(cell_len, cell.splitlines()), default=0)
    if width <= _PROSE:
        return width
    return max(_PROSE, min(_FOLDED, max(map(cell_len, cell.split()), default=0)))
