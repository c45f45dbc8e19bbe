"""``stb experiment failures``: how scores change when APIs fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from stb_core import cli
from stb_core.cli import console, stb_command
from stb_core.errors import UsageError
from stb_experiments.benches import open_bench_maker
from stb_experiments.commands.plan_options import plan_of, with_plan
from stb_experiments.failures import ARMS as FAILURE_ARMS
from stb_experiments.failures import measure_failures
from stb_experiments.output import finish_experiment


@stb_command("failures")
@click.option(
    "--down",
    default="0,10,20,50,100",
    show_default=True,
    help="Percentages of APIs that are down, separated by commas; the others are compared with the first.",
)
@click.option(
    "--known",
    type=click.FloatRange(0, 100),
    default=50.0,
    show_default=True,
    help="Percent of the recordings that a partial cache begins with.",
)
@with_plan
async def command(as_json: bool, output: Path | None, down: str, known: float, **options: Any) -> None:
    """Scores while more and more of the real APIs are down.

    Runs the same agents without a cache, with a cache, with a cache and a simulator, and with a cache
    that has only a part of the recordings. Exit code 1 when a score changes although all calls are in
    the cache, or when the answer of a recorded call changes.
    """
    levels = _shares(down)
    async with open_bench_maker(cli.current_settings(), plan_of(options)) as maker:
        with console.progress(quiet=as_json) as bar:
            task = bar.add_task("running", total=len(FAILURE_ARMS) * len(levels), note="")
            result = await measure_failures(
                maker, levels=levels, known=known / 100, advance=lambda: bar.advance(task)
            )
    finish_experiment(result, output, as_json=as_json)


def _shares(text: str) -> tuple[float, ...]:
    """``"0,50"`` → (0.0, 0.5)."""
    try:
        shares = tuple(dict.fromkeys(float(part) / 100 for part in text.split(",")))
    except ValueError:
        shares = ()
    if not shares or not all(0 <= share <= 1 for share in shares):
        raise UsageError(f"{text!r} is not a list of percentages.", hint="Use the form --down 0,10,50.")
    return shares
