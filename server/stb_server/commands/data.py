"""``stb data``: import, list, show, verify and delete datasets."""

from __future__ import annotations

import zipfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import click

from stb_core.cli import console, counted, event_loop, exit_with, stb_command
from stb_core.cli.store import opened_store
from stb_core.errors import UsageError
from stb_core.store import browsing, find_damage
from stb_server.datasets import (
    DatasetImport,
    IntegrityProblem,
    check_contents,
    check_responses,
    checked_dataset_name,
    find_release,
    import_release,
)

_MOST_SHOWN = 20

command = click.Group("data", help="Datasets: tools, queries and recorded responses.")


@stb_command("import")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", default="", help="Name of the dataset; by default the name of the folder.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Seconds to wait for a database that is still starting.",
)
@click.pass_context
def import_(context: click.Context, path: Path, name: str, wait_s: float, as_json: bool) -> None:
    """Import a release in the official layout, or a part of one.

    PATH contains tools/, solvable_queries/, tool_response_cache/ or dumps of responses, or is one
    of these folders. Importing it again changes nothing; other parts can be added later.
    A bundle of a run is imported as by stb import; then NAME is the name of the run.
    """
    if zipfile.is_zipfile(path):
        root = context.find_root()
        of_runs = cast("click.Group", root.command).get_command(root, "import")
        assert of_runs
        context.invoke(of_runs, path=path, name=name, as_json=as_json)
    else:
        event_loop.run(_import_folder(path, name, wait_s=wait_s, as_json=as_json))


async def _import_folder(path: Path, name: str, *, wait_s: float, as_json: bool) -> None:
    release = find_release(path)
    name = checked_dataset_name(name or release.name)
    with console.progress() as bar:
        task = bar.add_task("reading", total=None, note="")

        def advance(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        async with opened_store(wait_s) as store:
            imported = await import_release(store, release, name, advance=advance)
    if as_json:
        console.emit_json(_import_document(imported))
    else:
        _print_import(imported)
    if imported.skipped:
        number = len(imported.skipped)
        what = "1 file or entry was" if number == 1 else f"{number} files or entries were"
        console.print_note(f"stb: {what} skipped, the rest is imported. Fix what is listed and import again.")
    elif imported.gaps:
        console.print_note(
            "stb: All is imported, but parts are missing. Fix what is listed and import again."
        )
    if imported.skipped or imported.gaps:
        exit_with(1)


def _import_document(imported: DatasetImport) -> dict[str, Any]:
    return {
        "dataset": imported.dataset,
        "changed": imported.is_change,
        **{name: part.found for name, part in imported.parts.items()},
        "skipped": len(imported.skipped),
        "gaps": len(imported.gaps),
        "conflicts": len(imported.conflicts),
        "rows": [{"part": name, **asdict(part)} for name, part in imported.parts.items()],
        "skipped_rows": [skipped._asdict() for skipped in imported.skipped],
        "gap_rows": [gap._asdict() for gap in imported.gaps],
        "conflict_rows": [conflict._asdict() for conflict in imported.conflicts],
    }


def _print_import(imported: DatasetImport) -> None:
    rows = [{"part": name, **asdict(part)} for name, part in imported.parts.items()]
    console.emit_table(rows, ("part:", "found", "added", "changed"))
    conflicts = [conflict._asdict() for conflict in imported.conflicts]
    _print_some(conflicts, ("file", "kept", "dropped", "agree:same answer"), "Conflicts")
    _print_some([skipped._asdict() for skipped in imported.skipped], ("file", "reason"), "Skipped")
    _print_some([gap._asdict() for gap in imported.gaps], ("file", "reason"), "Imported with gaps")
    if imported.is_change:
        click.echo(f"Imported into {imported.dataset}.")
    elif not any(part.found for part in imported.parts.values()):
        click.echo("Nothing was imported.")
    elif imported.skipped:
        click.echo(f"Nothing changed: {imported.dataset} already has all that could be read.")
    else:
        click.echo(f"Nothing changed: {imported.dataset} already has all of it.")


def _print_some(rows: list[dict[str, Any]], columns: tuple[str, ...], title: str) -> None:
    if not rows:
        return
    console.emit_table(rows[:_MOST_SHOWN], columns, title=f"{title}: {len(rows)}")
    if len(rows) > _MOST_SHOWN:
        console.print_note(f"{len(rows) - _MOST_SHOWN} more. Use --json to list all of them.")


@stb_command("ls")
async def ls(as_json: bool) -> None:
    """List all datasets."""
    async with opened_store() as store:
        rows: list[dict[str, Any]] = [
            {
                "dataset": dataset.name,
                **await store.datasets.counts(dataset.id),
                "content_hash": dataset.content_hash,
                "responses_hash": dataset.responses_hash,
                "created_at": dataset.created_at,
                "source": dataset.source,
            }
            for dataset in await store.datasets.all()
        ]
    if as_json:
        console.emit_json({"rows": rows})
    elif rows:
        columns = ("dataset", "tools", "apis", "queries", "responses", "misses", "created")
        console.emit_table([{**row, "created": row["created_at"][:16]} for row in rows], columns)
    else:
        console.print_note("There are no datasets yet. Import one: stb data import PATH --name NAME.")


@stb_command("show")
@click.argument("name")
async def show(name: str, as_json: bool) -> None:
    """Show the contents of a dataset and the hashes that identify it."""
    async with opened_store() as store:
        dataset = await store.datasets.get(name)
        counts = await store.datasets.counts(dataset.id)
        groups = Counter(query.group for query in await store.datasets.queries(dataset.id))
        sums = await browsing.sums(store, dataset.id)
    facts: dict[str, Any] = {
        "dataset": dataset.name,
        **counts,
        "content_hash": dataset.content_hash,
        "responses_hash": dataset.responses_hash,
        "created_at": dataset.created_at,
        "source": dataset.source,
        "provenance": {share.provenance.value: share.count for share in sums.shares},
    }
    rows = [{"group": group, "queries": number} for group, number in groups.items()]
    if as_json:
        console.emit_json({**facts, "rows": rows})
        return
    facts["provenance"] = ", ".join(f"{s.count} {s.provenance}" for s in sums.shares)
    console.emit_table([{"": key, " ": value} for key, value in facts.items()], ("", " "))
    if rows:
        console.emit_table(rows, ("group", "queries"))


@stb_command("verify")
@click.argument("name")
async def verify(name: str, as_json: bool) -> None:
    """Recompute all hashes and keys of a dataset, and check that its queries name existing APIs.

    A store on SQLite is checked as a file as well, with its indexes.
    """
    async with opened_store() as store:
        dataset = await store.datasets.get(name)
        counts = await store.datasets.counts(dataset.id)
        damage = await find_damage(store)
        problems = [IntegrityProblem("store", store.place, damage)] if damage else []
        problems += await check_contents(store, dataset)
        with counted("checking responses", counts["responses"]) as advance:
            problems += await check_responses(store, dataset, look=lambda _: advance(1))
    rows = [problem._asdict() for problem in problems]
    if as_json:
        console.emit_json({"dataset": name, "ok": not rows, **counts, "rows": rows})
    elif rows:
        _print_some(rows, ("part", "name", "problem"), "Problems")
    else:
        click.echo(
            f"{name} is complete: {counts['tools']} tools, {counts['apis']} APIs, "
            f"{counts['queries']} queries, {counts['responses']} responses."
        )
    if rows:
        exit_with(1)


@stb_command("rm")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Confirm the deletion.")
async def rm(name: str, yes: bool, as_json: bool) -> None:
    """Delete a dataset with its tools, queries, responses and misses. Runs are kept."""
    async with opened_store() as store:
        dataset = await store.datasets.get(name)
        counts = await store.datasets.counts(dataset.id)
        if not yes:
            raise UsageError(
                f"This would delete {name} with {counts['responses']} responses.",
                hint="Add --yes to do it.",
            )
        await store.datasets.remove(name)
    if as_json:
        console.emit_json({"rows": [{"dataset": name, **counts}]})
    else:
        click.echo(f"Deleted {name}.")
