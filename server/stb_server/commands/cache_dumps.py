"""``stb cache dump``, ``load`` and ``diff``: export, import and compare responses."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from stb_core.cli import console, counted, exit_with, stb_command
from stb_core.cli.store import choose_dataset, opened_store
from stb_core.errors import UsageError
from stb_core.store import Dataset, Store
from stb_core.values import KEY_SCHEME, SCHEMES_WITH_EQUAL_KEYS
from stb_server.datasets import (
    SUFFIXES,
    DifferenceKind,
    find_differences,
    opened_diff_side,
    opened_dump,
    shortened,
    transfer,
    write_official_cache,
)

_MOST_SHOWN = 50


@stb_command("dump")
@click.argument("dataset", default="")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="File to write (.jsonl or .jsonl.zst); a folder for the official layout.",
)
@click.option(
    "--format",
    "layout",
    type=click.Choice(["dump", "official"]),
    default="dump",
    show_default=True,
    help="One file in our format, or the official tool_response_cache folder.",
)
async def dump(dataset: str, output: Path, layout: str, as_json: bool) -> None:
    """Write all responses in force to a file. The same responses always give the same bytes."""
    async with opened_store() as store:
        target = await choose_dataset(store, dataset)
        with counted("writing responses", target.responses_count) as advance:
            if layout == "official":
                written = await write_official_cache(store, target, output, advance=advance)
                row: dict[str, Any] = {"dataset": target.name, **asdict(written)}
            else:
                row = await _dump(store, target, output, advance)
    if as_json:
        console.emit_json({"rows": [row]})
        return
    click.echo(f"Wrote {row['responses']} responses of {target.name} to {row.get('folder', output)}.")
    if row.get("left_out"):
        console.print_note(
            f"{row['left_out']} were left out: they were not recorded from a real API, "
            "and the official layout cannot say so."
        )


async def _dump(store: Store, dataset: Dataset, output: Path, advance: Any) -> dict[str, Any]:
    if not output.name.endswith(SUFFIXES):
        raise UsageError(
            f"{output} is not a valid name for a dump.", hint="Use a name that ends in .jsonl or .jsonl.zst."
        )
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
@click.option("--dataset", default="", help="Target dataset; by default the one named in the dump.")
@click.option("--merge", "way", flag_value="merge", default="merge", help="Keep existing answers (default).")
@click.option("--replace", "way", flag_value="replace", help="Replace existing answers by those of the dump.")
@click.option("--foreign", is_flag=True, help="Load it even if it was made for other tools and queries.")
async def load(file: Path, dataset: str, way: str, foreign: bool, as_json: bool) -> None:
    """Load the responses of a dump into a dataset: all of them, or none if the dump is damaged."""
    with opened_dump(file) as reader:
        if (scheme := reader.header.key_scheme) not in SCHEMES_WITH_EQUAL_KEYS:
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
    changes = f"{loaded.added} added, {loaded.unchanged} unchanged"
    if way == "replace":
        changes += f", {loaded.replaced} replaced, {loaded.retired} retired"
    click.echo(f"Loaded {loaded.responses} responses into {loaded.dataset}: {changes}.")
    if rows:
        shown = [
            {**row, "key": row["key"][:12], "arguments": shortened(row["arguments"])}
            for row in rows[:_MOST_SHOWN]
        ]
        columns = ("key", "tool", "api", "arguments", "kept", "dropped", "same_body:same body")
        console.emit_table(shown, columns, title=f"Conflicts (the dataset keeps its answer): {len(rows)}")


@stb_command("diff")
@click.argument("a")
@click.argument("b")
@click.option(
    "--limit", type=click.IntRange(0), default=_MOST_SHOWN, show_default=True, help="Maximum number of rows."
)
async def diff(a: str, b: str, limit: int, as_json: bool) -> None:
    """Compare two sets of responses, each a dataset or a dump; exits with 1 if they differ."""
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
        click.echo(f"Different answers: {total} ({kinds}).")
    else:
        click.echo(f"{a} and {b} hold the same responses.")
    if left.dataset_hash != right.dataset_hash:
        console.print_note("Their tools and queries differ.")
    if total:
        exit_with(1)
