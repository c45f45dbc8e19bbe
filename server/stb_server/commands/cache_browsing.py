"""``stb cache ls``, ``show`` and ``misses``: list and show recorded responses and misses."""

from __future__ import annotations

import json
from typing import Any

import click

from stb_core.cli import console, stb_command
from stb_core.cli.store import choose_dataset, opened_store
from stb_core.store import Miss, Response, browsing
from stb_core.values import Provenance, clock, standardize_api, standardize_category, standardize_tool
from stb_server.calls import argument_differences, describe_differences
from stb_server.commands.targets import find_response, time_before
from stb_server.datasets import shortened

_KEPT = [p.value for p in Provenance if p not in {Provenance.FAULT, Provenance.MISS}]
_KEY_DIGITS = 12


@stb_command("ls")
@click.argument("dataset", default="")
@click.option("--category", default="", help="Only this category.")
@click.option("--tool", default="", help="Only this tool.")
@click.option("--api", default="", help="Only this API.")
@click.option(
    "--provenance", multiple=True, type=click.Choice(_KEPT), help="Only this provenance; repeatable."
)
@click.option("--newer", default="", help="Recorded within this time: 90s, 30m, 12h, 7d, 4w.")
@click.option("--older", default="", help="Recorded longer ago than this.")
@click.option("--grep", default="", help="Only with this text in arguments or body.")
@click.option("--pinned", is_flag=True, help="Only pinned responses.")
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="Maximum number of rows."
)
async def ls(
    dataset: str,
    category: str,
    tool: str,
    api: str,
    provenance: tuple[str, ...],
    newer: str,
    older: str,
    grep: str,
    pinned: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List responses in force, by category, tool, API and key."""
    now = clock.now()
    filter_ = browsing.ResponseFilter(
        category=standardize_category(category),
        tool=standardize_tool(tool),
        api=standardize_api(api),
        provenances=tuple(map(Provenance, provenance)),
        text=grep,
        since=time_before(now, newer) if newer else "",
        before=time_before(now, older) if older else "",
        pinned=pinned,
    )
    async with opened_store() as store:
        target = await choose_dataset(store, dataset)
        responses = await browsing.search(store, target.id, filter_, limit=limit)
        total = await browsing.count(store, target.id, filter_)
        if not total:
            await browsing.require_names(store, target, filter_)
    if as_json:
        rows = [response_row(response) for response in responses]
        console.emit_json({"dataset": target.name, "total": total, "rows": rows})
        return
    if not responses:
        console.print_note(f"No response of {target.name} matches.")
        return
    console.emit_table(
        [_short_row(response) for response in responses],
        ("key", "category", "tool", "api", "arguments", "provenance", "bytes", "kept", "pinned"),
    )
    if total > len(responses):
        console.print_note(f"{total - len(responses)} more. Raise --limit, or narrow the search.")


def response_row(response: Response) -> dict[str, Any]:
    """A response for JSON, without its body."""
    return {
        "key": response.key,
        "category": response.category,
        "tool": response.tool,
        "api": response.api,
        "arguments": json.loads(response.arguments),
        "provenance": response.provenance.value,
        "bytes": len(response.body),
        "version": response.version,
        "created_at": response.created_at,
        "superseded_at": response.superseded_at,
        "pinned": response.pinned,
    }


def _short_row(response: Response) -> dict[str, Any]:
    return {
        **response_row(response),
        "key": response.key[:_KEY_DIGITS],
        "arguments": shortened(response.arguments.decode()),
        "kept": response.created_at[:16],
        "pinned": "pinned" if response.pinned else "",
    }


@stb_command("show")
@click.argument("key")
@click.option("--dataset", default="", help="Dataset to search; all by default.")
async def show(key: str, dataset: str, as_json: bool) -> None:
    """Show one response with all its versions. A unique prefix of KEY is enough."""
    async with opened_store() as store:
        target, key = await find_response(store, key, dataset)
        versions = await store.responses.versions(target.id, key)
    if as_json:
        rows = [
            {**response_row(version), "details": version.details, "body": _decoded(version.body)}
            for version in versions
        ]
        console.emit_json({"dataset": target.name, "key": key, "rows": rows})
        return
    first = versions[0]
    click.echo(f"{first.category} / {first.tool} / {first.api}")
    click.echo(f"key {key}, dataset {target.name}")
    click.echo(f"arguments {_pretty(json.loads(first.arguments))}")
    for version in versions:
        state = f"superseded at {version.superseded_at}" if version.superseded_at else "in force"
        pinned = ", pinned" if version.pinned else ""
        click.echo(
            f"\nversion {version.version}: {version.provenance}, {version.created_at}, {state}{pinned}"
        )
        if version.details:
            click.echo(f"details {_pretty(version.details)}")
        click.echo(_pretty(_decoded(version.body)))


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


@stb_command("misses")
@click.argument("dataset", default="")
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="Maximum number of rows."
)
async def misses(dataset: str, limit: int, as_json: bool) -> None:
    """List calls that could not be answered, the most frequent first.

    Each is shown with its difference from the nearest recorded call of the same API.
    """
    async with opened_store() as store:
        target = await choose_dataset(store, dataset)
        missed = await store.misses.most_frequent(target.id, limit=limit)
        total, _ = await store.misses.totals(target.id)
    rows = [_miss_row(miss) for miss in missed]
    if as_json:
        console.emit_json({"dataset": target.name, "total": total, "rows": rows})
        return
    if not rows:
        console.print_note(f"{target.name} has no misses.")
        return
    for row, miss in zip(rows, missed, strict=True):
        row["arguments"] = shortened(miss.arguments.decode())
        row["difference"] = "" if miss.nearest_key is None else describe_differences(row["difference"])
        row["nearest"] = (miss.nearest_key or "")[:_KEY_DIGITS]
    columns = ("count", "category", "tool", "api", "arguments", "nearest", "difference:nearest → missed")
    console.emit_table(rows, columns)
    if total > len(missed):
        console.print_note(f"{total - len(missed)} more. Raise --limit to see them.")


def _miss_row(miss: Miss) -> dict[str, Any]:
    arguments = json.loads(miss.arguments)
    nearest = None if miss.nearest_arguments is None else json.loads(miss.nearest_arguments)
    return {
        "count": miss.count,
        "key": miss.key,
        "category": miss.category,
        "tool": miss.tool,
        "api": miss.api,
        "arguments": arguments,
        "nearest_key": miss.nearest_key,
        "nearest_arguments": nearest,
        "similarity": miss.nearest_similarity,
        "difference": None if nearest is None else argument_differences(arguments, nearest),
        "first_at": miss.first_at,
        "last_at": miss.last_at,
        "client": miss.client,
    }
