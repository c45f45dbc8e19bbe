"""Tables on a narrow terminal: what is told above, turned, split or written as records."""

from __future__ import annotations

import pytest

from stb_core.cli.tables import TextTable, fit_table

INTERVALS = [f"{n}0.0 [{n}1.0, {n}2.0]" for n in range(1, 9)]


def widest(tables: list[TextTable]) -> int:
    return max(table.width for table in tables)


def test_a_table_that_fits_stays_as_it_is() -> None:
    table = TextTable(["run", "judge"], [["a", "rules"], ["b", "rules"]])

    assert fit_table(table, 80) == [table]
    assert fit_table(TextTable(["run"] * 100, []), 80) == [TextTable(["run"] * 100, [])]


def test_what_every_row_says_is_told_above() -> None:
    """Texts, not figures; an empty column is left out."""
    rows = [[name, "a judge with a long name", "", "10.0"] for name in ("first", "second")]

    (lifted,) = fit_table(TextTable(["run", "judge", "model", "score"], rows), 30)

    assert lifted.facts == [("judge", "a judge with a long name")]
    assert (lifted.heads, lifted.rows) == (["run", "score"], [["first", "10.0"], ["second", "10.0"]])


def test_figures_are_turned() -> None:
    """A line per group and a column per run, as many as fit side by side; none is broken."""
    runs = ["first", "second", "third"]
    table = TextTable(["SoPR, %", *(f"G{n}" for n in range(8))], [[run, *INTERVALS] for run in runs])

    turned = fit_table(table, 60)

    assert [list(one.heads) for one in turned] == [["SoPR, %", "first", "second"], ["SoPR, %", "third"]]
    assert turned[0].rows[3] == ["G3", INTERVALS[3], INTERVALS[3]]
    assert widest(turned) <= 60


def test_a_table_of_pairs_is_split_and_drawn_close() -> None:
    """The pair is told above each part; long heads are broken, cells are not."""
    heads = ["pair", "group", "difference [95 %]", "better / equal / worse"]
    groups = ["G1_instruction", "macro"]
    rows = [
        [pair, group, f"+50.0 [-0.{n}, +75.3]", f"{n} / 2 / 0"]
        for pair in ("a long name - another long name", "a long name - a third long name")
        for n, group in enumerate(groups)
    ]

    parts = fit_table(TextTable(heads, rows), 48)

    assert [part.facts for part in parts] == [[("pair", rows[0][0])], [("pair", rows[2][0])]]
    assert all(part.is_close and "\n" in part.heads[-1] for part in parts)
    assert widest(parts) <= 48


def test_texts_are_written_as_records() -> None:
    """A line per column that has a value."""
    rows = [["067e", "Finance" * 3, '{"amount": 1}', ""], ["31c5", "Food" * 3, '{"to": "USD"}', "yes"]]

    first, second = fit_table(TextTable(["key", "category", "arguments", "pinned"], rows), 40)

    assert first.is_record
    assert first.rows == [["key", "067e"], ["category", rows[0][1]], ["arguments", '{"amount": 1}']]
    assert second.rows[-1] == ["pinned", "yes"]


@pytest.mark.parametrize("width", [1, 20, 40, 80])
def test_nothing_is_lost_at_any_width(width: int) -> None:
    """Every cell of a mixed table is told, above or within what is drawn."""
    rows = [["a", "same", "1.0", "long " * 20], ["b", "same", "2.0", "x" * 90]]

    made = fit_table(TextTable(["n", "s", "f", "t"], rows), width)

    told = {cell for table in made for row in table.rows for cell in row}
    told |= {cell for table in made for _, cell in table.facts}
    assert {cell for row in rows for cell in row} <= told
