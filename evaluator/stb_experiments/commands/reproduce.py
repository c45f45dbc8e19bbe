"""``stb experiment reproduce``: whether a run gives the same bytes again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from stb_core import cli
from stb_core.cli import console, stb_command
from stb_experiments.benches import open_bench_maker
from stb_experiments.commands.plan_options import mode_option, plan_of, with_plan
from stb_experiments.output import finish_experiment
from stb_experiments.reproduce import reproduce_run


@stb_command("reproduce")
@click.option("-k", type=click.IntRange(2, 1000), default=5, show_default=True, help="Number of repetitions.")
@click.option(
    "--postgres-url", default="", help="PostgreSQL server on which every second repetition is stored."
)
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Concurrent repetitions."
)
@mode_option
@with_plan
async def command(as_json: bool, output: Path | None, **options: Any) -> None:
    """Do the same run K times and compare every byte.

    Each repetition has new processes and a new store, and another hash seed, time zone and locale.
    Compares manifests, trajectories (without measurements of time), calls, verdicts and scores, and
    names the first difference and whose fault it is. Exit code 1 when anything differs.
    """
    async with open_bench_maker(cli.current_settings(), plan_of(options)) as maker:
        with console.progress(quiet=as_json) as bar:
            task = bar.add_task("repeating", total=options["k"], note="")
            result = await reproduce_run(maker, **options, advance=lambda: bar.advance(task))
    finish_experiment(result, output, as_json=as_json)
