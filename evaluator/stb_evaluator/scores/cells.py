"""Rows as the cells of a table, with the same marks on the terminal and in reports."""

from __future__ import annotations

from collections.abc import Iterable

from stb_core.values import group_order, score_text, score_with_interval
from stb_evaluator.scores.pass_rate import MACRO, MICRO, ResultRow


def groups_of(rows: Iterable[ResultRow]) -> list[str]:
    """Groups in their usual order, ``macro`` and ``micro`` last."""
    found = {row["group"] for row in rows}
    return sorted(found, key=lambda group: (group in {MACRO, MICRO}, *group_order(group)))


def score_cell(row: ResultRow, plus_minus: str = "±") -> str:
    """A score as text with its interval; in the reference block with the spread of rounds, after ``plus_minus``."""
    if row["value"] is None:
        return "?"
    if row["block"] == "reference":
        return starred(f"{score_text(row['value'])}{plus_minus}{score_text(row['std_rounds'])}", row)
    return starred(score_with_interval(row["value"], row["ci_low"], row["ci_high"]), row)


def starred(text: str, row: ResultRow) -> str:
    """A value as text; that of an incomplete row carries a star."""
    return text if row["complete"] or not text else f"{text}*"
