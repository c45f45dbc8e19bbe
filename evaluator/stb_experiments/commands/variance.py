"""``stb experiment variance``: where the randomness of scores comes from."""

from __future__ import annotations

from pathlib import Path

import click

from stb_core.cli import stb_command
from stb_core.cli.store import opened_store
from stb_evaluator.judges import default_judge, logged_panel
from stb_evaluator.statistics import Prices
from stb_experiments.commands.judge import output_option
from stb_experiments.output import finish_experiment
from stb_experiments.variance import split_variance


@stb_command("variance")
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@click.option("--judge", default="", help="Judge, as in stb score; its verdicts must be stored already.")
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=None, help="Rounds per answer, as in stb score."
)
@click.option(
    "--answer-cost",
    type=click.FloatRange(min=0),
    help="USD for one answer, agent and simulator; by default the stored mean.",
)
@click.option(
    "--verdict-cost", type=click.FloatRange(min=0), help="USD for one verdict; by default the stored mean."
)
@click.option("--seed", type=int, default=0, help="Seed of the bootstrap.")
@output_option
async def command(
    runs: tuple[str, ...],
    judge: str,
    rounds: int | None,
    answer_cost: float | None,
    verdict_cost: float | None,
    seed: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Where the randomness of the scores of RUNS comes from: query, trial, simulator or judge.

    And what more of each would gain: the standard error with one more, with twice as many, with infinitely
    many, and after spending one more dollar on queries, trials or rounds. Runs of one agent and model that
    differ in simulator, mode or recordings count as different simulators, others as trials. Several
    judges, separated by commas, count as judges. No judge is asked; run stb score first.
    """
    async with opened_store() as store:
        chosen = list({run.run: run for run in [await store.runs.get(name) for name in runs]}.values())
        panel = await logged_panel(store, chosen, judge or await default_judge(store, chosen))
        result = await split_variance(
            store, chosen, panel, rounds=rounds, prices=Prices(answer_cost, verdict_cost), seed=seed
        )
    finish_experiment(result, output, as_json=as_json)
