"""``stb report``: tables and plots of runs in one file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from stb_core import console
from stb_core.cli import command
from stb_core.errors import UsageError
from stb_evaluator.commands.exporting import write_file
from stb_evaluator.commands.judging import default_judge, logged_jury
from stb_evaluator.commands.stores import current_store
from stb_evaluator.comparing import Side
from stb_evaluator.loading import load_sheet
from stb_evaluator.reports.content import Report, gather
from stb_evaluator.reports.page import as_html
from stb_evaluator.reports.text import as_csv, as_json, as_markdown

WRITERS: dict[str, Callable[[Report], bytes]] = {
    ".html": as_html,
    ".md": as_markdown,
    ".csv": as_csv,
    ".json": as_json,
}


def register(stb: click.Group) -> None:
    """Add the command."""

    @command(stb, "report")
    @click.argument("runs", nargs=-1, required=True)
    @click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        required=True,
        help=f"File to write; its ending tells the form: {', '.join(WRITERS)}.",
    )
    @click.option("--judge", default="", help="As in stb score; verdicts must be there already.")
    @click.option("--rounds", type=click.IntRange(1, 100), default=None, help="As in stb score.")
    @click.option("--published", is_flag=True, help="Show published tables beside ours, with judge and date.")
    @click.option("--title", default="", help="Title of the report.")
    @click.option("--force", is_flag=True, help="Overwrite what is there.")
    @click.option("--seed", type=int, default=0, help="Of resampling and permutation.")
    async def report(
        runs: tuple[str, ...],
        output: Path,
        judge: str,
        rounds: int | None,
        published: bool,
        title: str,
        force: bool,
        seed: int,
        as_json: bool,
    ) -> None:
        """Write a report on RUNS: scores with intervals, paired differences, plots, consistency.

        No judge is asked; run stb score first. The HTML file needs nothing else, not even a network.
        """
        writer = WRITERS.get(output.suffix.lower())
        if writer is None:
            raise UsageError(
                f"The form of a report is told by its ending, and {output.name!r} has none of ours.",
                hint=f"Use {', '.join(WRITERS)}.",
            )
        async with current_store() as store:
            chosen = list({run.run: run for run in [await store.runs.get(name) for name in runs]}.values())
            named = judge or await default_judge(store, chosen)
            jury = await logged_jury(store, chosen, named)
            sides = [Side(run, await load_sheet(store, run, jury, rounds=rounds)) for run in chosen]
            names = ", ".join(run.run for run in chosen)
            found = await gather(
                store,
                sides,
                jury,
                rounds=rounds,
                title=title or f"Report on {names}",
                published=published,
                seed=seed,
            )
        data = writer(found)
        write_file(output, data, force=force)
        if as_json:
            console.emit_json(
                {"path": str(output), "bytes": len(data), "headline": found.lines, "rows": found.scores}
            )
        else:
            for line in found.lines:
                click.echo(line)
            click.echo(f"Written: {output}")
        if not found.complete:
            sys.exit(1)
