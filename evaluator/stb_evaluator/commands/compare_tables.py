"""Printing the result of ``stb compare``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import click

from stb_core.cli import console
from stb_core.values import SOPR, SOWR, p_text, score_text, score_with_interval
from stb_evaluator.scores import EVEN, MACRO, Coverage, ResultRow, rank_runs

_ALPHA = 0.05


def show(
    rows: Sequence[ResultRow], lines: Sequence[str], coverage: Mapping[str, Coverage], *, as_json: bool
) -> None:
    """Print the comparison: warnings, the table, and one sentence per pair."""
    shown = _SHOWN[rows[0]["metric"] if rows else SOPR]
    # Of two runs the difference says everything.
    ranks = rank_runs(rows, coverage) if shown.is_ranked and len(coverage) > 2 else []
    if as_json:
        console.emit_json({"headline": list(lines), "rows": rows, "ranks": ranks})
        return
    for line in lines:
        click.echo(line)
    shown.table(rows)
    for row in rows:
        if row["group"] == MACRO:
            click.echo(_in_words(row, shown))
    if ranked := [one for one in ranks if not one["unranked"]]:
        places = ", ".join(f"{one['run']} {_places(one)}" for one in sorted(ranked, key=_by_rank))
        click.echo(f"Possible ranks, with 95 % confidence for all together: {places}.")
    if apart := [f"{one['run']} ({one['unranked']})" for one in ranks if one["unranked"]]:
        click.echo(f"Not ranked: {', '.join(apart)}.")
    reaches = [row["detectable"] for row in rows if row["group"] == MACRO and row.get("detectable")]
    if reaches:
        click.echo(
            f"A true macro difference of {max(reaches):.1f} points would be detected with 80 % power, smaller"
            f" differences mostly not. Detecting 2 points takes about {_needed(rows):,} such queries."
        )


def _needed(rows: Sequence[ResultRow]) -> int:
    return max(int(row["queries_for_2_points"] or 0) for row in rows if row["group"] == MACRO)


def _by_rank(one: ResultRow) -> tuple[int, int]:
    return one["rank_low"], one["rank"]


def _places(one: ResultRow) -> str:
    low, high = one["rank_low"], one["rank_high"]
    return str(low) if low == high else f"{low} to {high}"


def _show_differences(rows: Sequence[ResultRow]) -> None:
    table = [
        {
            **_shared_cells(row),
            "a": score_text(row["value_a"]),
            "b": score_text(row["value_b"]),
            "difference": score_with_interval(row["value"], row["ci_low"], row["ci_high"], signed=True),
            "queries": f"{row['n_better']} / {row['n_equal']} / {row['n_worse']}",
        }
        for row in rows
    ]
    columns = "pair", "group", "a", "b", "difference:difference [95 %]", "p", "p_holm:p (Holm)"
    console.emit_table(table, [*columns, "queries:better / equal / worse"])


def _show_wins(rows: Sequence[ResultRow]) -> None:
    table = [
        {
            **_shared_cells(row),
            "rate": score_with_interval(row["value"], row["ci_low"], row["ci_high"]),
            "queries": f"{row['wins']} / {row['ties']} / {row['losses']}",
        }
        for row in rows
    ]
    rate = f"rate:{rows[0]['block']} SoWR, % [95 %]"
    console.emit_table(table, ["pair", "group", rate, "p", "p_holm:p (Holm)", "queries:wins / ties / losses"])


def _shared_cells(row: ResultRow) -> ResultRow:
    return {
        "pair": f"{row['run']} - {row['run_b']}",
        "group": row["group"],
        "p": p_text(row["p"]),
        "p_holm": p_text(row["p_holm"]),
    }


def _in_words(row: ResultRow, shown: _Shown) -> str:
    pair = f"{row['run']} and {row['run_b']}"
    if row["value"] is None:
        return f"{pair}: nothing can be compared."
    what = shown.value_in_words.format(row["value"])
    if left_out := row.get("groups_left_out"):
        what += f" without {', '.join(left_out)}"
    if row["p_holm"] is None or row["p_holm"] >= _ALPHA:
        return f"{pair}: no difference shown (macro {what}, {_p_in_words(row)})."
    is_ahead = row["value"] > shown.even
    better, worse = (row["run"], row["run_b"]) if is_ahead else (row["run_b"], row["run"])
    return f"{better} is better than {worse} (macro {what}, {_p_in_words(row)})."


def _p_in_words(row: ResultRow) -> str:
    p = p_text(row["p_holm"])
    return f"p {p}" if p[:1] != "<" else f"p < {p[1:]}"


@dataclass(frozen=True)
class _Shown:
    """How a comparison by one metric is shown; ``even`` is the value at which neither run is ahead."""

    table: Callable[[Sequence[ResultRow]], None]
    value_in_words: str
    even: float
    is_ranked: bool


_SHOWN = {
    SOPR: _Shown(_show_differences, "{:+.1f} points", EVEN[SOPR], is_ranked=True),
    SOWR: _Shown(_show_wins, "wins {:.1f} %", EVEN[SOWR], is_ranked=False),
}
