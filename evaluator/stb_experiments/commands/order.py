"""``stb experiment order``: whether order, concurrency and company change a score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stb_core import cli
from stb_core.cli import console
from stb_core.cli.program import stb_command
from stb_experiments.benches import opened_workshop
from stb_experiments.commands.plan_options import mode_option, plan_of, with_plan
from stb_experiments.order import ARMS, order
from stb_experiments.output import finish


@stb_command("order")
@mode_option
@with_plan
async def command(as_json: bool, output: Path | None, mode: str, **given: Any) -> None:
    """Whether order, concurrency and company change a score.

    Runs the systems one query at a time, 16 at a time, with the queries in another order, in another
    order of the systems, and interleaved on one server. Exit code 1 when anything differs.
    """
    plan = plan_of(given, "scripted", "scripted-hasty")
    async with opened_workshop(cli.current_settings(), plan) as workshop:
        with console.progress(quiet=as_json) as bar:
            task = bar.add_task("running", total=len(ARMS), note="")
            result = await order(workshop, mode=mode, advance=lambda: bar.advance(task))
    finish(result, output, as_json=as_json)
