"""Which place each of several compared runs may have; pure."""

from __future__ import annotations

from collections.abc import Sequence

from stb_evaluator.scores.comparison import Row
from stb_evaluator.scores.pass_rate import MACRO
from stb_evaluator.statistics.multiplicity import bounds_of


def ranks_of(rows: Sequence[Row]) -> list[Row]:
    """The rank of every run by the macro score, with bounds that hold for all ranks together at 95 %.

    ``rows`` are those of ``compare_runs``. Empty for fewer than three runs, of which the difference says
    it all.
    """
    macro = [row for row in rows if row["group"] == MACRO]
    runs = list(dict.fromkeys([*(row["run"] for row in macro), *(row["run_b"] for row in macro)]))
    if len(runs) < 3:
        return []
    number = {run: i for i, run in enumerate(runs)}
    pairs = [(number[row["run"]], number[row["run_b"]], row["value"], row["p"]) for row in macro]
    return [
        {"run": run, "rank": bounds.rank, "rank_low": bounds.low, "rank_high": bounds.high}
        for run, bounds in zip(runs, bounds_of(pairs), strict=True)
    ]
