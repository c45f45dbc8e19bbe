"""``judge``: how far a judge can be trusted, on the answers of stored runs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from stb_core.cli import console
from stb_core.store import Run, Store
from stb_core.values import Trajectory
from stb_evaluator.judges import RECORDED, JudgingTally, OpenedJudges, Panel, logged_panel
from stb_evaluator.scores import LabelSet, RunReader, Side, judge_run, load_win_comparison, without_copies
from stb_evaluator.scores.judge_watch import unfit_in_words
from stb_experiments.judge_order import ask_both_ways, order_rows, padded_pairs, rival_pairs, score_row
from stb_experiments.judge_probing import Findings, judged_answers, log_rows, probe_judge
from stb_experiments.output import ExperimentRow, Result
from stb_experiments.plots import DotChart

COLUMNS = ("run", "measure", "value", "ci_low:95 % low", "ci_high:95 % high", "unit", "n", "note")
LIMITS = (
    "That rounds agree does not make them right; only labels by people say whether a judge is.",
    "Longer answers may get better grades because they say more; padding adds only length.",
    "Every rate of changed verdicts includes those that change by chance.",
    "A judge that obeys none of these orders may obey others.",
)


@dataclass
class JudgeExperiment:
    """Measures a judge on the answers of runs.

    Attributes:
        store: where runs and verdicts are.
        judges: the judge.
        rounds: per answer; None for the judge's default.
        sample: most answers of a run that are changed by probes, and most pairs that are shown in both orders.
        labels: by people, to compare with.
        rival: run whose answers are shown beside those of each run.
        seed: of the sample.
        tally: counts what the judge answered.
    """

    store: Store
    judges: OpenedJudges
    rounds: int | None = None
    sample: int = 60
    labels: LabelSet | None = None
    rival: Run | None = None
    seed: int = 0
    tally: JudgingTally = field(default_factory=JudgingTally)

    async def result(self, runs: Sequence[Run]) -> Result:
        """All measures on all runs.

        Raises:
            StbError: the judge cannot be asked, or a run lacks its verdicts.
        """
        rows: list[ExperimentRow] = []
        data: list[ExperimentRow] = []
        for run in runs:
            found = await self._findings(run)
            rows += found.rows
            data += [{"run": run.run, **row} for row in found.data]
        judge = self.judges.members[0].name
        return Result(
            name="judge",
            title="How far a judge can be trusted",
            rows=rows,
            tables={"": COLUMNS},
            settings={
                "judge": judge,
                "rubric": rows[0]["rubric"] if rows else "",
                "runs": [run.run for run in runs],
                "manifest_hashes": [run.manifest.hash for run in runs],
                "against": self.rival.run if self.rival else "",
                "sample": None if judge == RECORDED else self.sample,
                "seed": self.seed,
            },
            passed=not (self.tally.errors or self.tally.unavailable),
            says=_in_words(judge, rows),
            limits=LIMITS,
            data=data,
            charts=[_chart(rows)],
        )

    async def _findings(self, run: Run) -> Findings:
        """All measures of one run; those that ask the judge come first."""
        reader = RunReader(self.store, run)
        await judge_run(self.judges, reader, self.rounds)
        panel = await self._panel(run)
        table = without_copies(await reader.verdict_table(panel, rounds=self.judges.rounds(self.rounds)))
        judged = await judged_answers(self.store, run, table)
        chosen = random.Random(self.seed).sample(judged, min(self.sample, len(judged)))
        found = Findings([])
        judge = self.judges.members[0].of_answers()
        if judge is not None:
            with console.progress(quiet=self.judges.quiet) as bar:
                task = bar.add_task(f"Trying {judge.name}", total=None, note="")
                found = await probe_judge(
                    self.store,
                    run,
                    judge,
                    queries=await reader.queries(),
                    chosen=chosen,
                    connections=self.judges.connections,
                    tally=self.tally,
                    advance=lambda done, total: bar.update(task, completed=done, total=total),
                )
            found.rows.extend(await self._order([t for t, _ in chosen], Side(run, table), reader))
        found.rows.extend(await log_rows(self.store, run, panel, table, judged, self.labels))
        whose = {"judge": panel.name, "rubric": panel.rubric, "run": run.run}
        return Findings([{**whose, **row} for row in found.rows], found.data)

    async def _panel(self, run: Run) -> Panel:
        if self.judges.members[0].name == RECORDED:
            return await logged_panel(self.store, [run], RECORDED)
        return self.judges.panel()

    async def _order(
        self, answers: Sequence[Trajectory], side: Side, reader: RunReader
    ) -> list[ExperimentRow]:
        judge, run = self.judges.members[0].of_pairs(), side.run
        assert judge is not None
        connections, tally = self.judges.connections, self.tally
        padded = await ask_both_ways(
            self.store, run, judge, padded_pairs(answers), connections=connections, tally=tally
        )
        rows = order_rows(padded, "_padded", "an answer and its padded form")
        rows.append(score_row("longer_preferred", padded.one))
        if self.rival is not None:
            comparison = await load_win_comparison(
                self.store, side, Side(self.rival, side.table), readers={run.run: reader}
            )
            pairs = rival_pairs(comparison.pairs, self.sample, self.seed)
            swaps = await ask_both_ways(
                self.store,
                run,
                judge,
                pairs,
                connections=connections,
                tally=tally,
                against=[self.rival.run],
            )
            rows += order_rows(swaps, note=f"beside answers of {self.rival.run}")
        return rows


def _in_words(judge: str, rows: list[ExperimentRow]) -> tuple[str, ...]:
    runs = dict.fromkeys(row["run"] for row in rows)
    lines = [f"Judge {judge}, run{'s' if len(runs) > 1 else ''} {', '.join(runs)}."]
    right = [row for row in rows if row["measure"] == "anchors_right" and row["value"] is not None]
    worst = min(right, key=lambda row: row["value"], default=None)
    if worst and (warning := unfit_in_words(judge, round(worst["value"] * worst["n"] / 100), worst["n"])):
        lines.insert(0, warning)
    kinds = {
        "anchors_right": "Of the answers whose grade is beyond dispute, it grades {} rightly.",
        "unanimous": "All rounds agree on {} of answers.",
        "flipped_by_chance": "Asked again, it changes {} of verdicts.",
        "flipped_padded": "After padding it changes {}.",
        "flipped_injected": "After orders in the answer it changes {}.",
        "order_swapped_padded": "Of an answer and its padded form, the other order makes another better in {}.",
        "order_swapped": "Of two answers, the other order makes another better in {}.",
    }
    for measure, words in kinds.items():
        values = [row["value"] for row in rows if row["measure"] == measure and row["value"] is not None]
        if values:
            low, high = f"{min(values):.1f}", f"{max(values):.1f}"
            lines.append(words.format(f"{low} %" if low == high else f"{low} to {high} %"))
    return tuple(lines)


def _chart(rows: list[ExperimentRow]) -> DotChart:
    several = len({row["run"] for row in rows}) > 1
    dots = {
        (f"{row['run']}: {row['measure']}" if several else row["measure"]): (
            row["value"],
            row["ci_low"] if row["ci_low"] is not None else row["value"],
            row["ci_high"] if row["ci_high"] is not None else row["value"],
        )
        for row in rows
        if row["unit"] == "%" and row["value"] is not None
    }
    return DotChart("measures", "Measures of the judge", "% (lines: 95 % interval)", dots)
