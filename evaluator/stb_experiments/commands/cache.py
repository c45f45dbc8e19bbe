"""``stb experiment cache``: how often the cache finds a recording, and whether it is the right one."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from stb_core import cli
from stb_core.cli import console, stb_command
from stb_experiments.cache import measure_cache
from stb_experiments.commands.plan_options import output_option, seed_option
from stb_experiments.output import finish_experiment


@stb_command("cache")
@click.option(
    "--release",
    type=click.Path(path_type=Path, resolve_path=True),
    required=True,
    help="Folder in the official layout, with tool_response_cache/.",
)
@click.option(
    "--calls", type=click.Path(path_type=Path), required=True, help="File of calls to replay, JSON Lines."
)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N calls of each system.")
@click.option("--near", type=click.IntRange(min=1), help="Change only N recordings, drawn by --seed.")
@seed_option
@output_option
async def command(as_json: bool, output: Path | None, **options: Any) -> None:
    """How often calls find a recording by the official and by the canonical key, and whether it is theirs.

    Replays the calls on a server with the recordings of a release, then sends calls that differ slightly
    from recorded ones: in a type, a value, a name, white space, or letters that look alike. Exit code 1
    when one of them gets a recording, or when another spelling of a recorded call gets none.
    """
    settings = cli.current_settings()
    with (
        tempfile.TemporaryDirectory(prefix="stb-experiment-") as scratch,
        console.progress(quiet=as_json) as bar,
    ):
        task = bar.add_task("calling", total=None, note="")
        result = await measure_cache(
            options.pop("release"),
            options.pop("calls"),
            Path(scratch),
            dict(settings.environment),
            **options,
            advance=lambda n: bar.advance(task, n),
        )
    finish_experiment(result, output, as_json=as_json)
