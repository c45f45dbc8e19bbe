"""``stb score``: judge the answers of runs and print their scores."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from stb_core.cli import console
from stb_core.cli.program import current_settings, stb_command
from stb_core.cli.store import opened_store
from stb_core.errors import NotFoundError, UsageError
from stb_core.store import Store
from stb_core.store.runs import Run
from stb_core.values.queries import group_order
from stb_core.values.verdicts import FAC, SOPR
from stb_evaluator.judges.opening import RECORDED, OpenedJudges, default_judge, evaluator_option, open_judges
from stb_evaluator.judges.panel import Panel
from stb_evaluator.judges.solvable_votes import MODE as VOTES
from stb_evaluator.scores.labels import CORRECTED, QUALITY, LabelSet, corrected_rows, read_labels
from stb_evaluator.scores.loading import load_verdict_table
from stb_evaluator.scores.pass_rate import BLOCKS, MACRO, MICRO, Block
from stb_evaluator.scores.pass_verdicts import judge_run
from stb_evaluator.scores.reference_rules import set_switches
from stb_evaluator.scores.rows import TRAJECTORY, Row, headline, measure_rows, score_rows
from stb_evaluator.scores.trial_rows import PASS_K, TRIALS, trial_rows

METRICS = (SOPR, FAC, PASS_K, TRAJECTORY)
LABELS = {SOPR: "SoPR", FAC: "FAC"}


@stb_command("score")
@click.argument("runs", nargs=-1)
@click.option(
    "--judge", default="", help="PROVIDER/MODEL (several with commas: a panel), 'recorded' or 'rules'."
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 100),
    default=None,
    help="Verdicts on each answer: 3 by a model (1 for fac), 1 by rules, as many as are recorded.",
)
@click.option("--metric", default=SOPR, help=f"What to measure, of {', '.join(METRICS)}.")
@click.option("--block", default="both", type=click.Choice([*BLOCKS, "both"]), help="Which rules of scoring.")
@click.option(
    "--switch", "switches", multiple=True, help="name=value in the reference block; see the manual."
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    default=None,
    help="CSV or JSON of human labels: adds scores corrected by them, and how good the judge is.",
)
@click.option("--clustered", is_flag=True, help="Let intervals allow for queries that share tools.")
@click.option("--retry-errors", is_flag=True, help="Ask again where the judge failed.")
@click.option(
    "--max-connections", type=click.IntRange(1, 1000), default=16, help="Requests at the judge at once."
)
@evaluator_option
@click.option("--seed", type=int, default=0, help="Of the resampling behind the intervals.")
async def command(
    runs: tuple[str, ...],
    judge: str,
    rounds: int | None,
    metric: str,
    block: str,
    switches: tuple[str, ...],
    labels: Path | None,
    clustered: bool,
    retry_errors: bool,
    max_connections: int,
    evaluator: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Judge the answers of RUNS and print their scores.

    Without RUNS it is the latest run; with --judge recorded all runs that have recorded verdicts.
    Verdicts are kept: the same command again asks the judge only for what is lacking.
    """
    wanted = Wanted(
        metrics=_metrics(metric),
        rounds=rounds,
        clustered=clustered,
        blocks=_blocks(block, switches),
        switches=set_switches(switches),
        labels=read_labels(labels) if labels is not None else None,
        seed=seed,
    )
    async with opened_store() as store:
        chosen = await choose_runs(store, runs, judge)
        rows: list[Row] = []
        for name in wanted.metrics:
            if name == TRAJECTORY:
                rows += [row for run in chosen for row in await measure_rows(store, run, seed=seed)]
                continue
            judged = SOPR if name == PASS_K else name
            async with open_judges(
                judge or await default_judge(store, chosen, judged),
                current_settings(),
                connections=max_connections,
                retry_errors=retry_errors,
                quiet=as_json,
                evaluator=evaluator,
            ) as judges:
                rows += [row for run in chosen for row in await _score(store, run, name, judges, wanted)]
    show(rows, _notes(wanted.labels, chosen), as_json=as_json)
    if not all(row["complete"] for row in rows):
        sys.exit(1)


@dataclass(frozen=True)
class Wanted:
    """What a call of ``stb score`` asks for."""

    metrics: Sequence[str]
    rounds: int | None
    clustered: bool
    blocks: Sequence[Block]
    switches: Mapping[str, str]
    labels: LabelSet | None
    seed: int


def _metrics(names: str) -> list[str]:
    found = list(dict.fromkeys(part.strip() for part in names.split(",")))
    for name in found:
        if name not in METRICS:
            raise UsageError(f"There is no metric {name!r}.", hint=f"There are: {', '.join(METRICS)}.")
    return found


def _blocks(name: str, switches: Sequence[str]) -> Sequence[Block]:
    blocks = [block for block in BLOCKS if name in {block, "both"}]
    if switches and "reference" not in blocks:
        raise UsageError("The faithful rules have no switches.", hint="Add --block reference.")
    return blocks


async def _score(store: Store, run: Run, metric: str, judges: OpenedJudges, wanted: Wanted) -> list[Row]:
    """The rows of one run by one metric, those of a panel before those of its members."""
    if metric == PASS_K:
        await judge_run(judges, store, run, wanted.rounds)
        rounds = judges.rounds(wanted.rounds)
        table = await load_verdict_table(store, run, judges.panel(), rounds=rounds)
        return trial_rows(run, table, judges.panel(), seed=wanted.seed)
    await judge_run(judges, store, run, wanted.rounds, metric)
    rounds = judges.rounds(wanted.rounds, metric)
    rows: list[Row] = []
    for panel in _panels(judges.panel(metric)):
        rows += await score_rows(
            store,
            run,
            panel,
            metric=metric,
            rounds=rounds,
            blocks=wanted.blocks,
            switches=wanted.switches,
            clustered=wanted.clustered,
            seed=wanted.seed,
        )
        if wanted.labels is not None and metric == SOPR:
            table = await load_verdict_table(store, run, panel, rounds=rounds)
            rows += corrected_rows(run.run, table, wanted.labels, panel)
    return rows


def _panels(panel: Panel) -> list[Panel]:
    """A panel and each of its members; a single judge alone."""
    alone = [Panel((member,)) for member in panel.members]
    return alone if len(alone) == 1 else [panel, *alone]


async def choose_runs(store: Store, names: Sequence[str], judge: str) -> list[Run]:
    """The named runs; without a name the latest, or for ``recorded`` all that have recorded verdicts.

    Raises:
        NotFoundError: there is none.
    """
    if names:
        found = [await store.runs.get(name) for name in names]
        return list({run.run: run for run in found}.values())
    runs = [run for run in await store.runs.all() if run.manifest.mode != VOTES]
    if judge == RECORDED:
        judged = {one.run for one in await store.verdicts.judges(metric=SOPR) if one.judge == RECORDED}
        runs = [run for run in runs if run.run in judged]
        if not runs:
            raise NotFoundError(
                "No run has recorded verdicts.", hint="Import some: stb import PATH/pass_rate_results."
            )
        return runs
    if not runs:
        raise NotFoundError("There are no runs yet.", hint="Make one: stb run, or stb import PATH.")
    return runs[-1:]


def _notes(labels: LabelSet | None, runs: Sequence[Run]) -> list[str]:
    """Which labels change nothing."""
    unknown = labels.n_unknown({run.run: run.expected for run in runs}) if labels is not None else 0
    if labels is None or not unknown:
        return []
    of_all = f"{unknown} of {len(labels.points)} labels"
    return [f"NOTE: {of_all} are on queries or runs that are not scored here (left out)."]


def show(rows: Sequence[Row], notes: Sequence[str] = (), *, as_json: bool) -> None:
    """Print rows: one JSON document, or one table a metric and block beneath the first lines and notes."""
    scores = [row for row in rows if row["block"] in BLOCKS]
    lines = [*headline(scores), *notes]
    if as_json:
        console.emit_json({"headline": lines, "rows": rows})
        return
    for line in lines:
        click.echo(line)
    for metric, block in dict.fromkeys((row["metric"], row["block"]) for row in scores):
        mine = [row for row in scores if (row["metric"], row["block"]) == (metric, block)]
        console.emit_table(*_table(mine, f"{block} {LABELS[metric]}, %"))
    corrected = [row for row in rows if row["block"] in {CORRECTED, QUALITY}]
    if corrected:
        shown = [{**row, "interval": _ends(row)} for row in corrected]
        columns = "run", "judge", "metric", "block", "group", "value", "interval:95 %", "n", "n_labelled"
        console.emit_table(shown, columns)
    tried = [row for row in rows if row["block"] == TRIALS and row["group"] in {MACRO, MICRO}]
    if tried:
        shown = [{**row, "interval": _ends(row)} for row in tried]
        columns = "run", "judge", "metric", "group", "value", "interval:95 %", "trials", "n", "n_total"
        console.emit_table(shown, columns)
    measured = [row for row in rows if row["block"] == TRAJECTORY and row["group"] == MICRO]
    if measured:
        shown = [{**row, "interval": _ends(row)} for row in measured]
        console.emit_table(shown, ("run", "metric:measure", "value", "interval:95 %", "unit", "n"))


def _table(rows: Sequence[Row], title: str) -> tuple[list[dict[str, Any]], list[str]]:
    groups = list(dict.fromkeys(row["group"] for row in rows))
    groups.sort(key=lambda group: (group in {MACRO, MICRO}, *group_order(group)))
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        line = lines.setdefault((row["run"], row["judge"]), {"run": row["run"], "judge": row["judge"]})
        line[row["group"]] = _cell(row)
    return list(lines.values()), [f"run:{title}", "judge", *groups]


def _cell(row: Row) -> str:
    if row["value"] is None:
        return "?"
    mark = "" if row["complete"] else "*"
    if row["block"] == "reference":
        deviation = "?" if row["std_rounds"] is None else f"{row['std_rounds']:.1f}"
        return f"{row['value']:.1f}±{deviation}{mark}"
    return f"{row['value']:.1f} {_ends(row)}{mark}"


def _ends(row: Row) -> str:
    return "" if row["ci_low"] is None else f"[{row['ci_low']:.1f}, {row['ci_high']:.1f}]"
