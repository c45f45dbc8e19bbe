"""``stb experiment reproduce``: whether a run gives the same bytes again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from stb_core import cli
from stb_core.cli import console
from stb_core.cli.program import stb_command
from stb_experiments.benches import opened_workshop
from stb_experiments.commands.plan_options import mode_option, plan_of, with_plan
from stb_experiments.output import finish
from stb_experiments.reproduce import reproduce


@stb_command("reproduce")
@click.option("-k", type=click.IntRange(2, 1000), default=5, show_default=True, help="Repetitions.")
@click.option(
    "--postgres-url", default="", help="A PostgreSQL server on which every other repetition is stored."
)
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Repetitions at a time."
)
@mode_option
@with_plan
async def command(as_json: bool, output: Path | None, **given: Any) -> None:
    """The same run K times, and every byte compared.

    Each repetition has new processes and a new store, another hash seed, time zone and locale.
    Compares manifests, trajectories without measurements of time, calls, verdicts and scores, and
    says what differed first and whose fault it was. Exit code 1 when anything differs.
    """
    async with opened_workshop(cli.current_settings(), plan_of(given)) as workshop:
        with console.progress(quiet=as_json) as bar:
            task = bar.add_task("repeating", total=given["k"], note="")
            result = await reproduce(workshop, **given, advance=lambda: bar.advance(task))
    finish(result, output, as_json=as_json)
