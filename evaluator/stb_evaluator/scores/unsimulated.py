"""Rows of the trials in which no answer was made up, neither by a model nor by a rule.

They say what a score rests on where some APIs were simulated. A run without made-up answers has no such rows:
they would be those of the faithful block.
"""

from __future__ import annotations

from dataclasses import replace

from stb_evaluator.judges import Panel
from stb_evaluator.scores.pass_rate import MACRO, MICRO, ResultRow, score
from stb_evaluator.scores.rows import score_fields
from stb_evaluator.scores.run_reader import RunReader

UNSIMULATED = "unsimulated"


async def unsimulated_rows(
    reader: RunReader, panel: Panel, *, rounds: int | None, metric: str, seed: int = 0
) -> list[ResultRow]:
    """The faithful score over these trials, by group, ``macro`` and ``micro``.

    ``n_total`` counts all expected queries, ``n`` those that have such a trial with a score; ``counts`` has
    the trials that were ``left_out``.
    """
    made_up = {place for place, trial in (await reader.scored_trials()).items() if trial.has_made_up_answers}
    if not made_up:
        return []
    run, table = reader.run, await reader.verdict_table(panel, rounds=rounds, metric=metric)
    places = {
        (group, query_id): [(group, query_id, trial) for trial in range(run.trials)]
        for group, ids in run.expected.items()
        for query_id in ids
    }
    asked: dict[str, list[str]] = {}
    for (group, query_id), trials in places.items():
        if not made_up.issuperset(trials):
            asked.setdefault(group, []).append(query_id)
    sizes = {group: len(ids) for group, ids in run.expected.items()}
    return [
        {
            "run": run.run,
            "metric": metric,
            **score_fields(row),
            "block": UNSIMULATED,
            "n_total": sizes.get(row.group, sum(sizes.values())),
            "n_left_out": sum(place[0] == row.group or row.group in {MACRO, MICRO} for place in made_up),
            "judge": panel.name,
            "rubric": panel.rubric,
            "trials": run.trials,
            "manifest_hash": run.manifest.hash,
        }
        for row in score(replace(table, expected=asked, left_out=made_up), "faithful", seed=seed)
    ]
