"""``stb cache dump``, ``load`` and ``diff``: responses out of the store, into it, and side by side."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from stb_core.cli import console
from stb_core.cli.console import counted
from stb_core.cli.program import exit_with, stb_command
from stb_core.cli.store import choose_dataset, opened_store
from stb_core.errors import UsageError
from stb_core.store import Store
from stb_core.store.datasets import Dataset
from stb_core.values.calls import KEY_SCHEME
from stb_server.datasets import transfer
from stb_server.datasets.differences import DifferenceKind, find_differences, opened_diff_side
from stb_server.datasets.dump_file import SUFFIXES, opened_dump
from stb_server.datasets.import_report import shortened
from stb_server.datasets.official_layout import write_official_cache

_MOST_SHOWN = 50


@stb_command("dump")
@click.argument("dataset", default="")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The file to write, .jsonl or .jsonl.zst; the folder for the official layout.",
)
@click.option(
    "--format",
    "layout",
    type=click.Choice(["dump", "official"]),
    default="dump",
    show_default=True,
    help="One file of ours, or the official tool_response_cache folder.",
)
async def dump(dataset: str, output: Path, layout: str, as_json: bool) -> None:
    """Write all responses in force to a file: the same responses are the same bytes."""
    async with opened_store() as store:
        there = await choose_dataset(store, dataset)
        with counted("writing responses", there.responses_count) as advance:
            if layout == "official":
                written = await write_official_cache(store, there, output, advance=advance)
                row: dict[str, Any] = {"dataset": there.name, **asdict(written)}
            else:
                row = await _dump(store, there, output, advance)
    if as_json:
        console.emit_json({"rows": [row]})
        return
    click.echo(f"Wrote {row['responses']} responses of {there.name} to {row.get('folder', output)}.")
    if row.get("left_out"):
        console.print_note(
            f"{row['left_out']} were left out: nobody recorded them from a real API, "
            "which the official layout cannot say."
        )


async def _dump(store: Store, dataset: Dataset, output: Path, advance: Any) -> dict[str, Any]:
    if not output.name.endswith(SUFFIXES):
        raise UsageError(f"{output} is no name for a dump.", hint="End it in .jsonl or .jsonl.zst.")
    header = await transfer.dump(store, dataset, output, advance=advance)
    return {
        "dataset": dataset.name,
        "file": str(output),
        "responses": header.count,
        "content_hash": header.content_hash,
        "dataset_hash": header.dataset_hash,
    }


@stb_command("load")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dataset", default="", help="Where to; the dataset named in the dump by default.")
@click.option(
    "--merge", "way", flag_value="merge", default="merge", help="Answers that are there stay (default)."
)
@click.option("--replace", "way", flag_value="replace", help="Make the answers those of the dump.")
@click.option("--foreign", is_flag=True, help="Load it although it was made for other tools and queries.")
async def load(file: Path, dataset: str, way: str, foreign: bool, as_json: bool) -> None:
    """Bring the responses of a dump into a dataset: all of them, or none if the dump is damaged."""
    with opened_dump(file) as reader:
        if (scheme := reader.header.key_scheme) != KEY_SCHEME:
            console.print_note(
                f"{file} has keys of scheme {scheme}; its responses get keys of scheme {KEY_SCHEME}."
            )
        async with opened_store() as store:
            with counted("loading responses", reader.header.count) as advance:
                loaded = await transfer.load(
                    store,
                    reader,
                    name=dataset,
                    replace=way == "replace",
                    foreign=foreign,
                    advance=advance,
                )
    rows = [conflict._asdict() for conflict in loaded.conflicts]
    if as_json:
        console.emit_json({**asdict(loaded), "conflicts": len(rows), "rows": rows})
        return
    changes = f"{loaded.added} added, {loaded.unchanged} there already"
    if way == "replace":
        changes += f", {loaded.replaced} replaced, {loaded.retired} taken out of force"
    click.echo(f"Loaded {loaded.responses} responses into {loaded.dataset}: {changes}.")
    if rows:
        shown = [
            {**row, "key": row["key"][:12], "arguments": shortened(row["arguments"])}
            for row in rows[:_MOST_SHOWN]
        ]
        columns = ("key", "tool", "api", "arguments", "kept", "dropped", "same_body:same body")
        console.emit_table(
            shown, columns, title=f"Conflicts, in which the dataset's answer stays: {len(rows)}"
        )


@stb_command("diff")
@click.argument("a")
@click.argument("b")
@click.option("--limit", type=click.IntRange(0), default=_MOST_SHOWN, show_default=True, help="Most to list.")
async def diff(a: str, b: str, limit: int, as_json: bool) -> None:
    """Compare two sets of responses, each a dataset or a dump; exit code 1 if they differ."""
    counts: Counter[str] = Counter()
    rows: list[dict[str, str]] = []
    async with (
        opened_store() as store,
        opened_diff_side(store, a) as left,
        opened_diff_side(store, b) as right,
    ):
        async for difference in find_differences(left.responses, right.responses):
            counts[difference.change.value] += 1
            if len(rows) < limit:
                rows.append(difference.as_row())
    total = counts.total()
    if as_json:
        summary = {change.value.replace(" ", "_").lower(): counts[change.value] for change in DifferenceKind}
        same_contents = left.dataset_hash == right.dataset_hash
        console.emit_json(
            {"differences": total, **summary, "same_tools_and_queries": same_contents, "rows": rows}
        )
    elif total:
        for row in rows:
            row.update(key=row["key"][:12], arguments=shortened(row["arguments"]))
        console.emit_table(
            rows, ("change", "key", "tool", "api", "arguments", "provenance_a", "provenance_b")
        )
        kinds = ", ".join(f"{number} {change}" for change, number in counts.items())
        click.echo(f"Answers that differ: {total} ({kinds}).")
    else:
        click.echo(f"{a} and {b} hold the same responses.")
    if left.dataset_hash != right.dataset_hash:
        console.print_note("They belong to different tools and queries.")
    if total:
        exit_with(1)
