"""``stb experiment judge`` and ``variance``: how far a judge can be trusted, and how far a score."""

from __future__ import annotations

from pathlib import Path

import click

from stb_core import cli
from stb_core.cli import current_settings
from stb_core.errors import UsageError
from stb_evaluator.budgets import Prices
from stb_evaluator.commands.judging import (
    default_judge,
    evaluator_option,
    logged_jury,
    opened_bench,
    tell,
)
from stb_evaluator.commands.stores import current_store
from stb_evaluator.experiments.judge import JudgeTrial
from stb_evaluator.experiments.output import finish
from stb_evaluator.experiments.variance import variance
from stb_evaluator.labels import read_labels

_output = click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for rows, data, manifest, page and plot."
)


def register(stb: click.Group) -> None:
    """Add both commands."""
    experiment = cli.group(stb, "experiment", "Measurements beside the benchmark itself.")
    _add_judge(experiment)
    _add_variance(experiment)


def _add_judge(experiment: click.Group) -> None:
    @cli.command(experiment, "judge")
    @click.argument("runs", nargs=-1, required=True, metavar="RUN…")
    @click.option("--judge", required=True, help="PROVIDER/MODEL, 'rules', or 'recorded' (asks nobody).")
    @click.option("--rounds", type=click.IntRange(1, 100), default=None, help="As in stb score.")
    @click.option(
        "--against", default="", help="Run whose answers are shown beside those of RUN, in both orders."
    )
    @click.option(
        "--sample",
        type=click.IntRange(1),
        default=60,
        help="How many answers are tried in other clothes, and how many pairs in both orders.",
    )
    @click.option(
        "--labels", type=click.Path(path_type=Path), default=None, help="CSV or JSON of human labels."
    )
    @click.option(
        "--max-connections", type=click.IntRange(1, 1000), default=16, help="Requests at the judge at once."
    )
    @evaluator_option
    @click.option("--seed", type=int, default=0, help="Of the sample.")
    @_output
    async def judge_command(
        runs: tuple[str, ...],
        judge: str,
        rounds: int | None,
        against: str,
        sample: int,
        labels: Path | None,
        max_connections: int,
        evaluator: Path | None,
        seed: int,
        output: Path | None,
        as_json: bool,
    ) -> None:
        """Try a judge on the answers of RUN.

        How its rounds agree; how often padding an answer, or text that gives it orders, changes its verdict;
        how often the other order of two answers changes which is better (an answer and its padded form, and
        with --against those of another run); whether length goes with grades; a set of answers beyond
        dispute, asked anew each time so that a change of a hosted model shows; agreement with labels; calls,
        tokens and cost of a verdict. Of recorded verdicts, what they tell by themselves.
        """
        human = read_labels(labels) if labels is not None else None
        async with (
            current_store() as store,
            opened_bench(
                judge, current_settings(), connections=max_connections, quiet=as_json, evaluator=evaluator
            ) as bench,
        ):
            if len(bench.judges) != 1:
                raise UsageError("One judge is tried at a time.", hint="Name it with --judge.")
            chosen = list({run.run: run for run in [await store.runs.get(name) for name in runs]}.values())
            rival = await store.runs.get(against) if against else None
            trial = JudgeTrial(store, bench, rounds, sample, human, rival, seed)
            result = await trial.result(chosen)
        tell(judge, trial.tally)
        finish(result, output, as_json=as_json)


def _add_variance(experiment: click.Group) -> None:
    @cli.command(experiment, "variance")
    @click.argument("runs", nargs=-1, required=True, metavar="RUN…")
    @click.option("--judge", default="", help="As in stb score; verdicts must be there already.")
    @click.option("--rounds", type=click.IntRange(1, 100), default=None, help="As in stb score.")
    @click.option(
        "--answer-cost",
        type=click.FloatRange(min=0),
        help="USD for one answer, agent and simulator; as on record by default.",
    )
    @click.option(
        "--verdict-cost", type=click.FloatRange(min=0), help="USD for one verdict; as on record by default."
    )
    @click.option("--seed", type=int, default=0, help="Of the resampling behind the intervals.")
    @_output
    async def variance_command(
        runs: tuple[str, ...],
        judge: str,
        rounds: int | None,
        answer_cost: float | None,
        verdict_cost: float | None,
        seed: int,
        output: Path | None,
        as_json: bool,
    ) -> None:
        """Whose chance the scores of RUNS depend on: query, trial of the agent, simulator, judge.

        And what more of each would buy: the standard error with one more, with twice and with endlessly
        many, and after one dollar more was spent on queries, trials or rounds. Runs of one agent and model
        that differ in their simulator, mode or recordings count as simulators, others as trials. Several
        judges with commas are told apart. No judge is asked; run stb score first.
        """
        async with current_store() as store:
            chosen = list({run.run: run for run in [await store.runs.get(name) for name in runs]}.values())
            jury = await logged_jury(store, chosen, judge or await default_judge(store, chosen))
            result = await variance(
                store, chosen, jury, rounds=rounds, prices=Prices(answer_cost, verdict_cost), seed=seed
            )
        finish(result, output, as_json=as_json)
