"""``stb report``: write tables and plots of runs to one file or a site."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from stb_core import plugins
from stb_core.cli import console, stb_command
from stb_core.cli.store import opened_store
from stb_core.errors import UsageError
from stb_core.files import write_files
from stb_core.store import Run, Store
from stb_evaluator.judges import default_judge, logged_panel
from stb_evaluator.reports import Report, as_csv, as_html, as_json, as_junit, as_latex, as_markdown, gather
from stb_evaluator.scores import Side, load_verdict_table

WRITERS: dict[str, Callable[[Report], bytes]] = {
    ".html": as_html,
    ".md": as_markdown,
    ".csv": as_csv,
    ".json": as_json,
    ".tex": as_latex,
    ".xml": as_junit,
}


@stb_command("report")
@click.argument("runs", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=None,
    help=f"File to write; its extension selects the format: {', '.join(WRITERS)}.",
)
@click.option(
    "--site",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder for static pages of the runs, as the inspector shows them, for any web server.",
)
@click.option("--judge", default="", help="As in stb score; the verdicts must exist.")
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=None, help="Verdicts per answer, as in stb score."
)
@click.option("--published", is_flag=True, help="Add published tables, with judge and date.")
@click.option("--title", default="", help="Title of the report.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@click.option("--seed", type=int, default=0, help="Seed of resampling and permutation.")
async def command(
    runs: tuple[str, ...],
    output: Path | None,
    site: Path | None,
    judge: str,
    rounds: int | None,
    published: bool,
    title: str,
    force: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Write a report on RUNS: scores with intervals, paired differences, plots, consistency.

    No judge is asked; run stb score first. The HTML file is self-contained and works offline. A site
    holds every trajectory, its search tree and the recorded responses that the runs used; its pages
    can also be opened from disk.
    """
    if output is None and site is None:
        raise UsageError("There is nothing to write.", hint="Name a file with -o or a folder with --site.")
    writer = _writer(output) if output else None
    written: dict[str, Any] = {}
    async with opened_store() as store:
        chosen = list({run.run: run for run in [await store.runs.get(name) for name in runs]}.values())
        if output and writer:
            named = judge or await default_judge(store, chosen)
            panel = await logged_panel(store, chosen, named)
            sides = [Side(run, await load_verdict_table(store, run, panel, rounds=rounds)) for run in chosen]
            names = ", ".join(run.run for run in chosen)
            found = await gather(
                store,
                sides,
                panel,
                rounds=rounds,
                title=title or f"Report on {names}",
                published=published,
                seed=seed,
            )
            data = writer(found)
            write_files({output: data}, force=force)
            written |= {
                "path": str(output),
                "bytes": len(data),
                "headline": found.lines,
                "rows": found.scores,
            }
        if site:
            written |= {"site": await _write_site(store, chosen, site, title, force=force)}
    if as_json:
        console.emit_json(written)
    else:
        _tell(written)
    if not all(row["complete"] for row in written.get("rows", ())):
        sys.exit(1)


def _writer(output: Path) -> Callable[[Report], bytes]:
    writer = WRITERS.get(output.suffix.lower())
    if writer is None:
        raise UsageError(
            f"{output.name!r} has no extension of a report format.",
            hint=f"Use {', '.join(WRITERS)}.",
        )
    return writer


async def _write_site(
    store: Store, runs: Sequence[Run], folder: Path, title: str, *, force: bool
) -> dict[str, Any]:
    publisher = plugins.find_site_writer()
    if publisher is None:
        raise UsageError(
            "The package that writes pages is not installed.", hint="Install all of stabletoolbench."
        )
    with console.progress() as bar:
        task = bar.add_task("writing pages", total=None, note="")
        made = await publisher(
            store,
            [run.run for run in runs],
            folder,
            title=title,
            force=force,
            advance=lambda done, total: bar.update(task, completed=done, total=total),
        )
    return {"path": str(made.first), "pages": made.pages, "files": made.files, "bytes": made.size}


def _tell(written: dict[str, Any]) -> None:
    if "path" in written:
        for line in written["headline"]:
            click.echo(line)
        click.echo(f"Written: {written['path']}")
    if site := written.get("site"):
        click.echo(f"Written: {site['pages']} pages, {site['bytes'] / 1e6:.1f} MB; open {site['path']}")
