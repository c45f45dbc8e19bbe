"""LaTeX: tables that a paper can take as they are."""

from __future__ import annotations

import re

from stb_evaluator.reports.content import Published, Report
from stb_evaluator.reports.latex import as_latex


def scored(run: str, group: str) -> dict[str, object]:
    row: dict[str, object] = {
        "run": run,
        "group": group,
        "block": "faithful",
        "judge": "p/j_1",
        "value": 56.4,
    }
    return row | {"ci_low": 49.2, "ci_high": 63.7, "complete": True}


def report() -> Report:
    scores = [scored(run, group) for run in ("a_cot", "50%\\dfs") for group in ("G1_tool", "macro")]
    published = [Published("Table 2", "a paper", "gpt-4", "2024", ["G1"], {"their & system": ["50.1±2.2"]})]
    return Report("My\nrun", ["NOTE: 5 %"], [], scores, [], [], [], published=published)


def test_scores_stand_in_tables() -> None:
    """A line per run, a column per group; the interval is set small, and nothing of a name is obeyed."""
    text = as_latex(report()).decode()

    assert r"    run & G1\_tool & macro \\" in text
    assert r"    a\_cot & 56.4 {\scriptsize [49.2, 63.7]} & 56.4 {\scriptsize [49.2, 63.7]} \\" in text
    assert r"50\%\textbackslash{}dfs &" in text
    assert r"    their \& system & 50.1$\pm$2.2 \\" in text
    assert r"\caption{Solvable pass rate, \% {\scriptsize" not in text
    assert r"judge p/j\_1}" in text


def test_what_is_said_about_the_scores_stands_in_comments() -> None:
    """Each in one line: what follows a line break would be set as text."""
    lines = as_latex(report()).decode().splitlines()

    assert lines[:3] == [r"% \usepackage{booktabs}", "% My run", "% NOTE: 5 %"]


def test_the_file_is_whole_latex() -> None:
    """Every environment ends, braces match, and every line of a table has as many cells as its heads."""
    text = as_latex(report()).decode()

    assert re.findall(r"\\begin\{(\w+)\}", text) == ["table", "tabular"] * 2
    assert re.findall(r"\\end\{(\w+)\}", text) == ["tabular", "table"] * 2
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    for table in text.split(r"\end{table}")[:-1]:
        widths = {len(re.findall(r"(?<!\\)&", line)) for line in table.splitlines() if line.endswith(r"\\")}
        assert len(widths) == 1
