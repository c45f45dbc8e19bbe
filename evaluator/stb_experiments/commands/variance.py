"""``stb experiment variance``: where the randomness of scores comes from."""

from __future__ import annotations

from pathlib import Path

import click

from stb_core.cli.program import stb_command
from stb_core.cli.store import opened_store
from stb_evaluator.judges.opening import default_judge, logged_panel
from stb_evaluator.statistics.spending import Prices
from stb_experiments.commands.judge import output_option
from stb_experiments.output import finish
from stb_experiments.variance import variance


@stb_command("variance")
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
    """Whose chance the scores of RUNS depend on: query, trial of the agent, simulator, judge.

    And what more of each would buy: the standard error with one more, with twice and with endlessly
    many, and after one dollar more was spent on queries, trials or rounds. Runs of one agent and model
    that differ in their simulator, mode or recordings count as simulators, others as trials. Several
    judges with commas are told apart. No judge is asked; run stb score first.
    """
    async with opened_store() as store:
        chosen = list({run.run: run for run in [await store.runs.get(name) for name in runs]}.values())
        panel = await logged_panel(store, chosen, judge or await default_judge(store, chosen))
        result = await variance(
            store, chosen, panel, rounds=rounds, prices=Prices(answer_cost, verdict_cost), seed=seed
        )
    finish(result, output, as_json=as_json)
