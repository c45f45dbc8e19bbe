r"""Reports as LaTeX: the tables that a paper shows, to be read with ``\input``; they need the package booktabs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stb_evaluator.reports.content import Report
from stb_evaluator.reports.text import paper_tables

_SPECIAL = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    "±": "$\\pm$",
    "\N{MINUS SIGN}": "$-$",
    "\n": " ",
}
_ESCAPED = str.maketrans(_SPECIAL)
_INTERVAL = re.compile(r" (\[[^\]]*\])")


def as_latex(report: Report) -> bytes:
    """A table each for scores, published scores and paired differences, with the warnings as comments."""
    notes = [f"% {' '.join(line.split())}" for line in (report.title, *report.lines)]
    tables = [_table(title, table) for title, table in paper_tables(report)]
    return ("\n".join(["% \\usepackage{booktabs}", *notes, "", *tables]).rstrip() + "\n").encode()


def _table(title: str, table: Sequence[Sequence[str]]) -> str:
    heads, *body = table
    lines = [
        "\\begin{table}",
        "  \\centering",
        f"  \\caption{{{_escape(title)}}}",
        f"  \\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
        "    \\toprule",
        _row(heads),
        "    \\midrule",
        *map(_row, body),
        "    \\bottomrule",
        "  \\end{tabular}",
        "\\end{table}",
        "",
    ]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    # Intervals are set small: with them eight columns fit on a page.
    shown = (_INTERVAL.sub(r" {\\scriptsize \1}", _escape(cell)) for cell in cells)
    return f"    {' & '.join(shown)} \\\\"


def _escape(text: str) -> str:
    return text.translate(_ESCAPED)
