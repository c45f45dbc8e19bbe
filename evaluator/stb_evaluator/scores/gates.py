"""Gates: whether scores and differences are good enough, for a command that must fail if they are not. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from stb_core.values import SOPR, SOWR, score_text, score_with_interval
from stb_evaluator.scores.pass_rate import BLOCKS, MACRO, ResultRow

EVEN = {SOPR: 0.0, SOWR: 50.0}
"""The value of a comparison, by metric, at which neither run is ahead: points, or percent of wins."""

# A score that is printed as the threshold reaches it.
_ROUNDING = 1e-9


def low_scores(rows: Sequence[ResultRow], threshold: float, *, by_interval: bool = False) -> list[str]:
    """A line for each macro score below a threshold; an empty list if all are good enough.

    Args:
        rows: of ``stb score``. The faithful block counts; where only the reference block was asked for, that.
            Of a panel its common score counts, which comes first, not those of its members.
        threshold: in percent.
        by_interval: hold the lower end of the 95 % interval against the threshold, not the score itself.
            The reference block has no interval; its score counts.
    """
    macro = [row for row in rows if row["group"] == MACRO and row["block"] in BLOCKS]
    blocks = {row["block"] for row in macro}
    counted = "faithful" if "faithful" in blocks else "reference"
    first: dict[tuple[str, str], ResultRow] = {}
    for row in macro:
        if row["block"] == counted:
            first.setdefault((row["run"], row["metric"]), row)
    failed: list[str] = []
    for row in first.values():
        low = row.get("ci_low") if by_interval else None
        held = row["value"] if low is None else low
        if held is None or held < threshold - _ROUNDING:
            failed.append(f"FAILED: {row['run']}: {_score_in_words(row, low)} is below {threshold:g}.")
    return failed


def _score_in_words(row: ResultRow, low: float | None) -> str:
    name = f"macro {row['metric']}"
    if row["value"] is None:
        return f"{name}, which is unknown,"
    if low is None:
        return f"{name} {score_text(row['value'])}"
    return f"the lower end of {name} {score_with_interval(row['value'], row['ci_low'], row['ci_high'])}"


def worse_runs(rows: Sequence[ResultRow], run: str, margin: float = 0.0) -> list[str]:
    """A line for each run than which ``run`` is worse; an empty list if it is worse than none.

    It is worse if the whole 95 % interval of the macro difference (of the win rate, for ``sowr``) lies more
    than ``margin`` points below the value at which neither is ahead. A difference that cannot be computed fails.

    Args:
        rows: of ``stb compare``; those of pairs whose first run is ``run`` count.
        run: the run to be checked.
        margin: in points.
    """
    failed: list[str] = []
    for row in rows:
        if row["group"] != MACRO or row["run"] != run:
            continue
        if row["value"] is None or row["ci_high"] is None:
            failed.append(f"FAILED: {run} and {row['run_b']} cannot be compared.")
        elif row["ci_high"] < EVEN[row["metric"]] - margin:
            what = score_with_interval(
                row["value"], row["ci_low"], row["ci_high"], signed=row["metric"] == SOPR
            )
            by = f" by more than {margin:g} points" if margin else ""
            failed.append(f"FAILED: {run} is worse than {row['run_b']}{by}: macro {row['metric']} {what}.")
    return failed
