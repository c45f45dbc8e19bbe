"""``stb solvable``: let models vote on which queries can be solved."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import click
import orjson

from stb_core.cli import console, current_settings, stb_command, timeout_option
from stb_core.cli.store import opened_store
from stb_core.errors import NotFoundError
from stb_core.files import write_files
from stb_core.llm import CostLimit, open_model
from stb_core.values import group_order
from stb_core.values.verdicts import SOLVABLE
from stb_evaluator.commands.export import file_name
from stb_evaluator.commands.forecast_table import ForecastLine, show_forecasts
from stb_evaluator.judges import (
    SOLVABILITY,
    Allowance,
    PromptMeter,
    Vote,
    collect_votes,
    find_reply,
    forecast_votes,
    load_rubric,
    load_solvability_tasks,
    price_for_limit,
    report_failures,
    with_cost_options,
)

RUBRIC = "solvable-1"
_WORDS = {status: word for word, status in SOLVABILITY.items()}


@stb_command("solvable")
@click.argument("dataset", metavar="DATASET[:GROUP,…]")
@click.option("--judge", required=True, help="An odd number of PROVIDER/MODEL, separated by commas.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for ids of solvable queries.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@click.option(
    "--max-connections", type=click.IntRange(1, 1000), default=16, help="Concurrent requests to the models."
)
@timeout_option
@with_cost_options
async def command(
    dataset: str,
    judge: str,
    output: Path | None,
    force: bool,
    max_connections: int,
    model_timeout: float | None,
    max_cost: float | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Have models vote on which queries of a dataset can be solved.

    With -o the ids of queries that a majority finds solvable are written to
    test_query_ids/<group>.json, in the official format. Votes are kept: the same command run again asks
    only for missing ones.
    """
    name, _, groups = dataset.partition(":")
    wanted = [group for group in groups.split(",") if group]
    async with opened_store() as store, AsyncExitStack() as stack:
        found = await store.datasets.get(name)
        tasks = await load_solvability_tasks(store, found, wanted)
        if not tasks:
            raise NotFoundError(f"{dataset} has no queries.", hint=f"See: stb data show {name}.")
        names, settings = [one.strip() for one in judge.split(",")], current_settings()
        limit = CostLimit(max_cost) if max_cost is not None else None
        prices = {one: price_for_limit(one, settings, limit) for one in names}
        if dry_run:
            meters = [PromptMeter(one) for one in names]
            rubric = load_rubric(RUBRIC)
            forecasts = await forecast_votes(store, found, tasks, meters, rubric, prices)
            lines = [ForecastLine(dataset, SOLVABLE, model, forecast) for model, forecast in forecasts]
            show_forecasts(lines, as_json=as_json)
            return
        models = [
            open_model(
                one,
                settings,
                connections=max_connections,
                find=find_reply,
                timeout_s=model_timeout,
                say=console.print_note,
            )
            for one in names
        ]
        for model in models:
            stack.push_async_callback(model.close)
        with console.progress(quiet=as_json) as bar:
            task = bar.add_task(f"Votes on {dataset}", total=None, note="")
            votes, tally = await collect_votes(
                store,
                found,
                tasks,
                models,
                load_rubric(RUBRIC),
                connections=max_connections,
                allowances={one: Allowance(limit, price) for one, price in prices.items() if limit and price},
                advance=lambda done, total: bar.update(task, completed=done, total=total),
            )
        report_failures(dataset, tally)
    if output is not None:
        _write(votes, output, force=force)
    _show(votes, as_json=as_json)
    if any(one.solvable is None for one in votes):
        sys.exit(1)


def _write(votes: Sequence[Vote], folder: Path, *, force: bool) -> None:
    ids: dict[str, dict[str, int]] = {}
    for one in votes:
        ids.setdefault(one.query.group, {})
        if one.solvable:
            ids[one.query.group][one.query.query_id] = 0
    inside = folder / "test_query_ids"
    files = {
        inside / f"{file_name(group)}.json": orjson.dumps(found, option=orjson.OPT_INDENT_2)
        for group, found in ids.items()
    }
    write_files(files, force=force, folder=inside)


def _show(votes: Sequence[Vote], *, as_json: bool) -> None:
    counts: dict[str, Counter[str]] = {}
    for one in votes:
        outcome = "undecided" if one.solvable is None else "solvable" if one.solvable else "unsolvable"
        counts.setdefault(one.query.group, Counter())[outcome] += 1
    rows: list[dict[str, Any]] = [
        {
            "group": group,
            "queries": found.total(),
            **{word: found[word] for word in ("solvable", "unsolvable", "undecided")},
        }
        for group, found in sorted(counts.items(), key=lambda item: group_order(item[0]))
    ]
    if as_json:
        single = [
            {
                "group": one.query.group,
                "query": one.query.query_id,
                "solvable": one.solvable,
                "votes": {name: _WORDS[status] for name, status in one.votes.items()},
            }
            for one in votes
        ]
        console.emit_json({"rows": rows, "votes": single})
    else:
        console.emit_table(rows, ("group", "queries", "solvable", "unsolvable", "undecided"))
