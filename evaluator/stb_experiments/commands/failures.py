"""``stb experiment failures``: what a score does when APIs fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from stb_core import cli
from stb_core.cli import console
from stb_core.cli.program import stb_command
from stb_core.errors import UsageError
from stb_experiments.benches import opened_workshop
from stb_experiments.commands.plan_options import plan_of, with_plan
from stb_experiments.failures import ARMS as FAILURE_ARMS
from stb_experiments.failures import failures
from stb_experiments.output import finish


@stb_command("failures")
@click.option(
    "--down",
    default="0,10,20,50,100",
    show_default=True,
    help="Percent of APIs that are down, with commas between; the first is what the others are compared with.",
)
@click.option(
    "--known",
    type=click.FloatRange(0, 100),
    default=50.0,
    show_default=True,
    help="Percent of the recordings that a cache with a part of them begins with.",
)
@with_plan
async def command(as_json: bool, output: Path | None, down: str, known: float, **given: Any) -> None:
    """Scores while more and more of the real APIs are down.

    The same agents against the APIs themselves, with a cache, with a cache and a simulator, and with
    a cache that has but a part of the recordings. Exit code 1 when the score of an agent moves whose
    calls are in the cache, or the answer of a recorded call changes.
    """
    levels = _shares(down)
    async with opened_workshop(cli.current_settings(), plan_of(given)) as workshop:
        with console.progress(quiet=as_json) as bar:
            task = bar.add_task("running", total=len(FAILURE_ARMS) * len(levels), note="")
            result = await failures(
                workshop, levels=levels, known=known / 100, advance=lambda: bar.advance(task)
            )
    finish(result, output, as_json=as_json)


def _shares(text: str) -> tuple[float, ...]:
    """``"0,50"`` → (0.0, 0.5)."""
    try:
        shares = tuple(dict.fromkeys(float(part) / 100 for part in text.split(",")))
    except ValueError:
        shares = ()
    if not shares or not all(0 <= share <= 1 for share in shares):
        raise UsageError(f"{text!r} are no percentages.", hint="Write such as: --down 0,10,50.")
    return shares
