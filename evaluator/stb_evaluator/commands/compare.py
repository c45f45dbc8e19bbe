"""``stb compare``: compare runs query by query, with intervals and tests."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import click

from stb_core.cli import console, current_settings, stb_command, timeout_option
from stb_core.cli.store import opened_store
from stb_core.errors import UsageError
from stb_core.llm import CostLimit
from stb_core.store import Store
from stb_core.values import SOPR, SOWR, count_noun
from stb_evaluator.commands.compare_tables import show
from stb_evaluator.commands.forecast_table import ForecastLine, show_forecasts
from stb_evaluator.judges import (
    RECORDED,
    Judge,
    OpenedJudges,
    PairJudge,
    default_judge,
    evaluator_option,
    is_imported,
    open_judges,
    report_failures,
    with_cost_options,
)
from stb_evaluator.scores import (
    BLOCKS,
    MICRO,
    NOT_COMPARABLE,
    OURS,
    Block,
    Coverage,
    ResultRow,
    RunReader,
    Side,
    WinComparison,
    adjust_p_values,
    ask_for_preferences,
    compare_runs,
    comparison_warnings,
    coverage_of_side,
    forecast_preferences,
    forecast_run,
    foreign_lines,
    judge_run,
    load_win_comparison,
    run_headlines,
    set_switches,
    win_rows,
    worse_runs,
)
from stb_evaluator.scores.tool_clusters import tool_clusters


@stb_command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN_A RUN_B [RUN…]")
@click.option(
    "--metric",
    default=SOPR,
    type=click.Choice([SOPR, SOWR]),
    help="sopr compares pass rates; sowr asks which answer is better.",
)
@click.option("--judge", default="", help="PROVIDER/MODEL, 'recorded' or 'rules'.")
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=None, help="Verdicts per answer, as in stb score."
)
@click.option(
    "--pair-rounds",
    type=click.IntRange(1, 100),
    default=None,
    help="Verdicts per pair and order; 1 by default.",
)
@click.option("--block", default="faithful", type=click.Choice(BLOCKS), help="Scoring rules, for sowr.")
@click.option(
    "--switch", "switches", multiple=True, help="NAME=VALUE: changes one rule of the reference block."
)
@click.option(
    "--max-connections", type=click.IntRange(1, 1000), default=16, help="Concurrent requests to the judge."
)
@click.option("--retry-errors", is_flag=True, help="Ask again about answers on which the judge failed.")
@click.option("--clustered", is_flag=True, help="Resample queries that share tools together, for sopr.")
@timeout_option
@with_cost_options
@evaluator_option
@click.option(
    "--fail-if-worse",
    is_flag=True,
    help="Fail (exit code 1) if the first run is worse than another: the whole interval says so.",
)
@click.option(
    "--margin",
    type=click.FloatRange(0, 100),
    help="With --fail-if-worse: so many points worse are accepted.",
)
@click.option("--seed", type=int, default=0, help="Seed of resampling and permutation.")
async def command(
    runs: tuple[str, ...],
    metric: str,
    judge: str,
    rounds: int | None,
    pair_rounds: int | None,
    block: Block,
    switches: tuple[str, ...],
    max_connections: int,
    model_timeout: float | None,
    retry_errors: bool,
    clustered: bool,
    max_cost: float | None,
    dry_run: bool,
    evaluator: Path | None,
    fail_if_worse: bool,
    margin: float | None,
    seed: int,
    as_json: bool,
) -> None:
    """Compare runs query by query: difference, 95 % interval and p-value.

    With more than two RUNS every pair is compared, and p-values are adjusted for the number of pairs.
    Missing verdicts are asked for, as in stb score.
    """
    compared = _COMPARED[metric]
    _check_rules(compared, block, switches)
    if margin is not None and not fail_if_worse:
        raise UsageError("A margin says how much worse is accepted.", hint="Add --fail-if-worse.")
    settings = OURS if block == "faithful" else set_switches(switches)
    async with opened_store() as store:
        chosen = list({run.run: run for run in [await store.runs.get(name) for name in runs]}.values())
        if len(chosen) < 2:
            raise UsageError("A comparison needs two runs.", hint="List the runs in the store with: stb ls.")
        async with open_judges(
            judge or await default_judge(store, chosen),
            current_settings(),
            connections=max_connections,
            retry_errors=retry_errors,
            quiet=as_json,
            evaluator=evaluator,
            limit=CostLimit(max_cost) if max_cost is not None else None,
            dry_run=dry_run,
            timeout_s=model_timeout,
        ) as judges:
            if compared.by_one_judge:
                _check_one_judge(judges)
            sides: list[Side] = []
            forecasts: list[ForecastLine] = []
            readers = {run.run: RunReader(store, run) for run in chosen}
            for reader in readers.values():
                if dry_run:
                    forecasts += [
                        ForecastLine(reader.run.run, SOPR, name, forecast)
                        for name, forecast in await forecast_run(judges, reader, rounds)
                    ]
                else:
                    await judge_run(judges, reader, rounds)
                table = await reader.verdict_table(judges.panel(), rounds=judges.rounds(rounds))
                sides.append(Side(reader.run, table))
            request = _Request(store, readers, sides, judges, block, settings, pair_rounds, clustered, seed)
            if dry_run:
                if compared.forecast:
                    forecasts += await compared.forecast(request)
                show_forecasts(forecasts, as_json=as_json)
                return
            rows = await compared.rows(request)
            # After the rows: those of sowr need all trajectories, which then are read once.
            doubts, coverage = await _doubts_and_coverage(request)
    worse = worse_runs(rows, chosen[0].run, margin or 0.0) if fail_if_worse else []
    show(
        rows,
        [*worse, *comparison_warnings(sides), *doubts, *_notes(rows)],
        coverage,
        as_json=as_json,
    )
    if worse or not all(row["complete"] for row in rows):
        sys.exit(1)


@dataclass(frozen=True)
class _Request:
    """The judged runs to compare, and how to compare them."""

    store: Store
    readers: Mapping[str, RunReader]
    sides: Sequence[Side]
    judges: OpenedJudges
    block: Block
    switches: Mapping[str, str]
    pair_rounds: int | None
    clustered: bool
    seed: int


def _check_one_judge(judges: OpenedJudges) -> None:
    """Check that the judges are one that compares pairs."""
    if len(judges.members) > 1:
        raise UsageError("Pairs are compared by one judge.", hint="Name one with --judge.")
    if is_imported(judges.members[0].name):
        raise UsageError(
            "Imported verdicts on pairs cannot be chosen.", hint="Use --judge recorded, or a model."
        )


async def _doubts_and_coverage(request: _Request) -> tuple[list[str], dict[str, Coverage]]:
    """What casts doubt on the runs, in lines, and by run how much of its dataset it covers."""
    doubts: list[str] = []
    coverage: dict[str, Coverage] = {}
    for side in request.sides:
        reader = request.readers[side.run.run]
        doubts += await run_headlines(reader)
        counts = await reader.brought_verdicts(request.judges.panel(), SOPR)
        doubts += foreign_lines({side.run.run: counts})
        coverage[side.run.run] = coverage_of_side(side, len(await reader.queries()) or None)
    return doubts, coverage


async def _pass_rate_differences(request: _Request) -> list[ResultRow]:
    """Differences of pass rates of every two runs."""
    clusters = None
    if request.clustered:
        clusters = tool_clusters((await request.readers[request.sides[0].run.run].queries()).values())
    return compare_runs(request.sides, request.judges.panel(), clusters=clusters, seed=request.seed)


async def _win_rates(request: _Request) -> list[ResultRow]:
    """Win rates of every two runs, with p-values adjusted over all pairs."""
    judges = request.judges
    (opened,) = judges.members
    judge, checker = _pair_judges(request)
    rows: list[ResultRow] = []
    for one, other in combinations(request.sides, 2):
        comparison = await _load_pairs(request, one, other)
        with console.progress(quiet=judges.quiet) as bar:
            task = bar.add_task(f"{one.run.run} against {other.run.run}", total=None, note="")
            tally = await ask_for_preferences(
                request.store,
                comparison,
                judge,
                checker=checker,
                connections=judges.connections,
                retry_errors=judges.retry_errors,
                allowance=judges.allowance(opened),
                advance=lambda done, total, task=task: bar.update(task, completed=done, total=total),  # type: ignore[misc]
            )
        report_failures(f"{one.run.run} against {other.run.run}", tally)
        rubric = judge.rubric if judge else RECORDED
        rows += win_rows(comparison, request.block, judge=opened.name, rubric=rubric, seed=request.seed)
    adjust_p_values(rows)
    return rows


async def _forecast_win_rates(request: _Request) -> list[ForecastLine]:
    """What the judge of pairs would be asked about every two runs."""
    (opened,) = request.judges.members
    judge, checker = _pair_judges(request)
    return [
        ForecastLine(
            f"{one.run.run} against {other.run.run}",
            SOWR,
            opened.name,
            await forecast_preferences(
                request.store,
                await _load_pairs(request, one, other),
                judge,
                checker=checker,
                retry_errors=request.judges.retry_errors,
                price=opened.price,
            ),
        )
        for one, other in combinations(request.sides, 2)
    ]


def _pair_judges(request: _Request) -> tuple[PairJudge | None, Judge | None]:
    """The judge of pairs, and the one that judges answers of pairs again where the switches say so."""
    (opened,) = request.judges.members
    is_cut = request.switches["sowr.text"] == "cut"
    is_rejudged = request.switches["sowr.verdicts"] == "rejudged"
    return opened.of_pairs(cut=is_cut), opened.of_answers_in_pairs(cut=is_cut) if is_rejudged else None


async def _load_pairs(request: _Request, one: Side, other: Side) -> WinComparison:
    return await load_win_comparison(
        request.store,
        one,
        other,
        rounds=request.pair_rounds,
        switches=request.switches,
        recorded=_pair_judges(request)[0] is None,
        readers=request.readers,
    )


@dataclass(frozen=True)
class _ComparedMetric:
    """How runs are compared by one metric; ``has_blocks`` says whether the reference rules apply.

    ``forecast`` says what it asks beyond pass verdicts.
    """

    rows: Callable[[_Request], Awaitable[list[ResultRow]]]
    forecast: Callable[[_Request], Awaitable[list[ForecastLine]]] | None = None
    has_blocks: bool = False
    by_one_judge: bool = False


_COMPARED = {
    SOPR: _ComparedMetric(_pass_rate_differences),
    SOWR: _ComparedMetric(_win_rates, _forecast_win_rates, has_blocks=True, by_one_judge=True),
}


def _check_rules(compared: _ComparedMetric, block: Block, switches: Sequence[str]) -> None:
    """Check that the metric can be compared by these rules."""
    if (switches or block != "faithful") and not compared.has_blocks:
        raise UsageError("Differences are compared by the faithful rules only.", hint="Use --metric sowr.")
    if switches and block != "reference":
        raise UsageError("The faithful rules have no switches.", hint="Add --block reference.")


def _notes(rows: Sequence[ResultRow]) -> list[str]:
    notes: list[str] = []
    if any(judge in row["judge"] for judge in NOT_COMPARABLE for row in rows):
        notes.append("NOT COMPARABLE: judged by rules, without a model; see stb score.")
    for row in rows:
        if row["group"] != MICRO or row["complete"]:
            continue
        counts: list[str] = []
        if row["n_error"]:
            counts.append(
                f"{count_noun(row['n_error'], 'verdict')} failed, missing or lost to infrastructure (not scored)"
            )
        if row["n"] < row["n_total"]:
            left_out = row["n_total"] - row["n"]
            counts.append(f"{left_out} of {row['n_total']} queries cannot be compared (left out)")
        if row["missing"] or row["missing_b"]:
            counts.append(
                f"{row['missing']} and {count_noun(row['missing_b'], 'answer')} missing (counted as unsolved)"
            )
        notes.append(f"INCOMPLETE: {row['run']} and {row['run_b']}: {', '.join(counts)}.")
    return notes
