"""Tables: as wide as the terminal or COLUMNS, and wide enough for anything in a file."""

from __future__ import annotations

import pytest

from stb_core.cli import console

ROWS = [{"run": "a" * 30, "judge": "b" * 30}]


@pytest.mark.parametrize(("columns", "widest"), [("40", 40), ("", 200), ("wide", 200)])
def test_a_table_in_a_file_is_as_wide_as_columns_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str, widest: int
) -> None:
    """Without a usable COLUMNS it is 200 wide, so that programs find each row on one line."""
    monkeypatch.setenv("COLUMNS", columns)

    console.emit_table(ROWS, ("run", "judge"))

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= widest
    assert any(line.split() == ["a" * 30, "b" * 30] for line in lines) == (widest == 200)
