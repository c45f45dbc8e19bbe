"""``stb experiment order``: whether order, concurrency or other systems change a score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stb_core import cli
from stb_core.cli import console, stb_command
from stb_experiments.benches import open_bench_maker
from stb_experiments.commands.plan_options import mode_option, plan_of, with_plan
from stb_experiments.order import ARMS, measure_order
from stb_experiments.output import finish_experiment


@stb_command("order")
@mode_option
@with_plan
async def command(as_json: bool, output: Path | None, mode: str, **options: Any) -> None:
    """Whether order, concurrency or other systems change a score.

    Runs the systems one query at a time, 16 at a time, with the queries in another order, with the
    systems in another order, and all at once on one server. Exit code 1 when anything differs.
    """
    plan = plan_of(options, "scripted", "scripted-hasty")
    async with open_bench_maker(cli.current_settings(), plan) as maker:
        with console.progress(quiet=as_json) as bar:
            task = bar.add_task("running", total=len(ARMS), note="")
            result = await measure_order(maker, mode=mode, advance=lambda: bar.advance(task))
    finish_experiment(result, output, as_json=as_json)
