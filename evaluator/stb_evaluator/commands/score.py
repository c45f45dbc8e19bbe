"""``stb score``: judge the answers of runs and print their scores."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from stb_core.cli import current_settings, stb_command, timeout_option
from stb_core.cli.store import opened_store
from stb_core.errors import NotFoundError, UsageError
from stb_core.llm import CostLimit
from stb_core.store import Run, Store
from stb_core.values import SOPR
from stb_evaluator.commands.forecast_table import ForecastLine, show_forecasts
from stb_evaluator.commands.score_tables import show
from stb_evaluator.judges import (
    METRICS,
    RECORDED,
    OpenedJudges,
    default_judge,
    evaluator_option,
    open_judges,
    with_cost_options,
)
from stb_evaluator.judges import MODE as VOTES
from stb_evaluator.scores import (
    BLOCKS,
    Block,
    JudgeWatch,
    LabelSet,
    ResultRow,
    RunReader,
    ScoreMetric,
    ScoreRequest,
    choose_queries,
    forecast_anchors,
    forecast_run,
    low_scores,
    read_labels,
    run_headlines,
    set_switches,
    split_ids,
)
from stb_evaluator.scores.headlines import beyond_recordings
from stb_evaluator.scores.score_metrics import score_metrics


@stb_command("score")
@click.argument("runs", nargs=-1)
@click.option(
    "--judge",
    default="",
    help="PROVIDER/MODEL (several, separated by commas, form a panel), 'recorded', 'rules' or imported:NAME.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 100),
    default=None,
    help="Verdicts per answer. By default 3 by a model (1 for fac), 1 by rules, all recorded ones.",
)
@click.option(
    "--metric", default=SOPR, help=f"What to measure, separated by commas: {', '.join(score_metrics())}."
)
@click.option("--block", default="both", type=click.Choice([*BLOCKS, "both"]), help="Scoring rules.")
@click.option(
    "--switch",
    "switches",
    multiple=True,
    help="NAME=VALUE: changes one rule of the reference block; see docs/metrics.md.",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    default=None,
    help="CSV or JSON file of human labels: adds corrected scores and the judge's accuracy.",
)
@click.option("--clustered", is_flag=True, help="Compute intervals that allow for queries that share tools.")
@click.option(
    "--hermetic",
    is_flag=True,
    help="Fail (exit code 1) if a call in a scored trial was answered by anything but a recording.",
)
@click.option(
    "--copy-rounds",
    is_flag=True,
    help="Ask a judge of temperature 0 once per answer; its other rounds are copies, at no cost, and marked.",
)
@click.option("--retry-errors", is_flag=True, help="Ask again about answers on which the judge failed.")
@click.option(
    "--max-connections", type=click.IntRange(1, 1000), default=16, help="Concurrent requests to the judge."
)
@click.option("--limit", type=click.IntRange(min=1), help="Score only the first N queries of each group.")
@click.option("--task-ids", default="", help="Score only the queries with these ids, separated by commas.")
@click.option(
    "--anchors/--no-anchors",
    default=True,
    help="Ask a judge about some earlier answers again, with at most 12 calls, to notice that it has changed.",
)
@click.option("--strict", is_flag=True, help="Refuse to score with a judge that has changed.")
@click.option(
    "--fail-under",
    type=click.FloatRange(0, 100),
    help="Fail (exit code 1) if a macro score is below this many percent.",
)
@click.option(
    "--ci", is_flag=True, help="Hold the lower end of the 95 % interval against --fail-under, not the score."
)
@timeout_option
@with_cost_options
@evaluator_option
@click.option("--seed", type=int, default=0, help="Seed of the bootstrap.")
async def command(
    runs: tuple[str, ...],
    judge: str,
    rounds: int | None,
    metric: str,
    block: str,
    switches: tuple[str, ...],
    labels: Path | None,
    clustered: bool,
    hermetic: bool,
    copy_rounds: bool,
    retry_errors: bool,
    max_connections: int,
    model_timeout: float | None,
    limit: int | None,
    task_ids: str,
    anchors: bool,
    strict: bool,
    fail_under: float | None,
    ci: bool,
    max_cost: float | None,
    dry_run: bool,
    evaluator: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Judge the answers of RUNS and print their scores.

    Without RUNS it scores the latest run, or with --judge recorded all runs that have recorded verdicts.
    Verdicts are kept: the same command run again asks the judge only for missing ones.
    """
    if strict and not anchors:
        raise UsageError("Without anchors no change of a judge is noticed.", hint="Leave --no-anchors out.")
    metrics = _metrics(metric)
    _check_gate(metric, fail_under, by_interval=ci)
    async with opened_store() as store:
        watch = JudgeWatch(store, is_strict=strict, is_asking=anchors)
        request = ScoreRequest(
            rounds=rounds,
            clustered=clustered,
            blocks=_blocks(block, switches),
            switches=set_switches(switches),
            labels=read_labels(labels) if labels is not None else None,
            seed=seed,
            watch=watch,
        )
        chosen = await choose_runs(store, runs, judge)
        # Measures need whole trajectories: parse them once, for judges and accounts as well.
        keep = len(metrics) > 1 and any(not one.judged_by for one in metrics)
        parts = choose_queries([run.expected for run in chosen], limit, split_ids(task_ids))
        readers = [
            RunReader(store, run, keep_trajectories=keep, part=part)
            for run, part in zip(chosen, parts, strict=True)
        ]
        rows: list[ResultRow] = []
        forecasts: list[ForecastLine] = []
        spending = CostLimit(max_cost) if max_cost is not None else None
        for one in metrics:
            name = (judge or await default_judge(store, chosen, one.judged_by)) if one.judged_by else ""
            async with open_judges(
                name,
                current_settings(),
                connections=max_connections,
                retry_errors=retry_errors,
                quiet=as_json,
                evaluator=evaluator,
                limit=spending,
                dry_run=dry_run,
                timeout_s=model_timeout,
                copy_rounds=copy_rounds,
            ) as judges:
                if dry_run:
                    lines = await _forecast(readers, judges, request, one, done=forecasts)
                    forecasts += lines
                    if anchors:
                        forecasts += await _forecast_anchors(store, judges, one.judged_by, lines)
                    continue
                rows += [row for reader in readers for row in await one.rows(reader, judges, request)]
        if dry_run:
            show_forecasts(forecasts, as_json=as_json)
            return
        doubts = [line for reader in readers for line in await run_headlines(reader)]
        impure = [line for reader in readers if (line := await beyond_recordings(reader))] if hermetic else []
    low = low_scores(rows, fail_under, by_interval=ci) if fail_under is not None else []
    notes = [*low, *watch.lines, *doubts, *impure, *_notes(request.labels, chosen)]
    show(rows, notes, watch.rows, as_json=as_json)
    if low or impure or not all(row["complete"] for row in rows):
        sys.exit(1)


def _check_gate(metrics: str, fail_under: float | None, *, by_interval: bool) -> None:
    if fail_under is None and by_interval:
        raise UsageError("There is no threshold.", hint="Name one with --fail-under.")
    if fail_under is not None and METRICS.keys().isdisjoint(_names(metrics)):
        raise UsageError("There is no score that could be below --fail-under.", hint=f"Add --metric {SOPR}.")


async def _forecast(
    readers: Sequence[RunReader],
    judges: OpenedJudges,
    request: ScoreRequest,
    metric: ScoreMetric,
    *,
    done: Sequence[ForecastLine],
) -> list[ForecastLine]:
    """What would be asked for one metric, unless its verdicts are those of another metric in ``done``."""
    if not metric.judged_by or metric.judged_by in {line.metric for line in done}:
        return []
    return [
        ForecastLine(reader.run.run, metric.judged_by, judge, forecast)
        for reader in readers
        for judge, forecast in await forecast_run(judges, reader, request.rounds, metric.judged_by)
    ]


async def _forecast_anchors(
    store: Store, judges: OpenedJudges, metric: str, lines: Sequence[ForecastLine]
) -> list[ForecastLine]:
    """What the judges that are asked for verdicts would be asked about earlier answers."""
    asked = {line.judge for line in lines if line.forecast.verdicts}
    found = [
        ForecastLine(
            "anchors", metric, opened.name, await forecast_anchors(store, judge, metric, opened.price)
        )
        for opened in judges.members
        if opened.name in asked and (judge := opened.of_answers(metric))
    ]
    return [line for line in found if line.forecast.verdicts]


def _metrics(names: str) -> list[ScoreMetric]:
    known = score_metrics()
    for name in _names(names):
        if name not in known:
            raise UsageError(f"There is no metric {name!r}.", hint=f"There are: {', '.join(known)}.")
    return [known[name] for name in _names(names)]


def _names(metrics: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in metrics.split(",")))


def _blocks(name: str, switches: Sequence[str]) -> Sequence[Block]:
    blocks = [block for block in BLOCKS if name in {block, "both"}]
    if switches and "reference" not in blocks:
        raise UsageError("The faithful rules have no switches.", hint="Add --block reference.")
    return blocks


async def choose_runs(store: Store, names: Sequence[str], judge: str) -> list[Run]:
    """The named runs; without a name the latest run, or for ``recorded`` all runs with recorded verdicts.

    Raises:
        NotFoundError: there is no such run.
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
    """A note about labels that have no effect."""
    unknown = labels.n_unknown({run.run: run.expected for run in runs}) if labels is not None else 0
    if labels is None or not unknown:
        return []
    of_all = f"{unknown} of {len(labels.points)} labels"
    return [f"NOTE: {of_all} are for queries or runs that are not scored here (left out)."]
