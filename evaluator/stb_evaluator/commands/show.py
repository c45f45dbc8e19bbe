"""``stb show``: show a run, or what it did on one query."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click

from stb_core.cli import console, stb_command
from stb_core.cli.store import opened_store
from stb_core.errors import NotFoundError, UsageError
from stb_core.store import BroughtVerdicts, Run, Store
from stb_core.values import SOPR, StopReason, Trajectory, Verdict, group_order
from stb_evaluator.judges import IMPORTED
from stb_evaluator.reports import draw_trajectory


@stb_command("show")
@click.argument("what", metavar="RUN[/[GROUP/]QUERY]")
@click.option("--full", is_flag=True, help="Show observations and answers in full.")
async def command(what: str, full: bool, as_json: bool) -> None:
    """Show a run, or its calls, answer and verdicts on one query."""
    async with opened_store() as store:
        run, group, query_id = await _find(store, what)
        if not query_id:
            row = await run_row(store, run, n_dataset=(await store.datasets.query_counts()).get(run.dataset))
            _show_run(run, row, await _group_rows(store, run), as_json=as_json)
            return
        found = await _trajectories(store, run, group, query_id)
        verdicts = await _verdicts(store, run, found)
    if as_json:
        pairs = zip(found, verdicts, strict=True)
        console.emit_json({"rows": [_trajectory_row(run, *pair) for pair in pairs]})
        return
    for trajectory, given in zip(found, verdicts, strict=True):
        console.print_texts(draw_trajectory(trajectory, given, full=full))


def _trajectory_row(run: Run, trajectory: Trajectory, verdicts: list[Verdict]) -> dict[str, Any]:
    given = [verdict.model_dump(mode="json") for verdict in verdicts]
    return {"run": run.run, **trajectory.model_dump(mode="json"), "verdicts": given}


async def run_row(store: Store, run: Run, *, n_dataset: int | None = None) -> dict[str, Any]:
    """One run as ``stb ls`` and ``stb show`` list it; ``n_dataset`` counts the queries of its dataset.

    ``answers`` counts those to the queries that it is to answer, without what infrastructure failures spoiled.
    """
    done = await store.runs.done(run.run)
    places = set(run.places)
    n_done = run.count_done({(d.group, d.query_id, d.trial): d.stop for d in done})
    n_queries = sum(map(len, run.expected.values()))
    judges = await store.verdicts.judges(run.run)
    return {
        "run": run.run,
        "name": run.name,
        "dataset": run.dataset,
        "agent": run.agent,
        "model": run.model,
        "groups": sorted(run.expected, key=group_order),
        "trials": run.trials,
        "queries": n_queries,
        "n_dataset": n_dataset,
        "subset": n_dataset is not None and n_queries < n_dataset,
        "answers": n_done,
        "expected": run.n_expected,
        "infrastructure": sum(one.stop is StopReason.INFRASTRUCTURE for one in done),
        "other_answers": sum((d.group, d.query_id, d.trial) not in places for d in done),
        "complete": n_done == run.n_expected and all(run.expected.values()),
        "judges": [f"{one.judge} ({one.metric} x{one.rounds})" for one in judges],
        "brought_verdicts": [
            f"{one.judge} ({one.metric}) from {one.source}: {one.verdicts}{_counted(one)}"
            for one in await store.verdicts.brought(run.run)
        ],
        "imported_from": run.manifest.imported_from or None,
        "manifest_hash": run.manifest.hash,
        "created_at": run.created_at,
    }


def _counted(verdicts: BroughtVerdicts) -> str:
    return f", not counted without --judge {IMPORTED}{verdicts.source}" if verdicts.is_foreign else ""


async def _group_rows(store: Store, run: Run) -> list[dict[str, Any]]:
    stops: dict[str, Counter[str]] = {group: Counter() for group in run.expected}
    for one in await store.runs.done(run.run):
        stops.setdefault(one.group, Counter())[one.stop.value] += 1
    return [
        {
            "group": group,
            "expected": len(run.expected.get(group, ())) * run.trials,
            "answers": sum(counts.values()),
            **{stop: counts[stop] for stop in sorted({name for c in stops.values() for name in c})},
        }
        for group, counts in sorted(stops.items(), key=lambda item: group_order(item[0]))
    ]


def _show_run(run: Run, row: dict[str, Any], groups: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        console.emit_json({**row, "manifest": run.manifest.model_dump(mode="json"), "rows": groups})
        return
    state = "complete" if row["complete"] else "INCOMPLETE"
    click.echo(f"{run.run}: {state}, {row['answers']:,} of {row['expected']:,} answers.")
    if row["subset"]:
        click.echo(f"SUBSET: {row['queries']:,} of the {row['n_dataset']:,} queries of {run.dataset}.")
    if row["other_answers"]:
        click.echo(f"  {row['other_answers']:,} answers to queries that it was not to answer do not count.")
    details = {
        "dataset": run.dataset,
        "agent": run.agent,
        "model": run.model,
        "mode": run.manifest.mode,
        "seed": run.manifest.seed,
        "imported from": run.manifest.imported_from,
        "snapshot": run.manifest.snapshot_hash[:12],
        "manifest": row["manifest_hash"][:12],
        "judges": ", ".join(row["judges"]),
        "verdicts from files": "; ".join(row["brought_verdicts"]),
        "created": run.created_at,
    }
    for name, value in details.items():
        if value not in {None, ""}:
            click.echo(f"  {name}: {value}")
    console.emit_table(groups, list(groups[0]) if groups else ["group"])


async def _find(store: Store, what: str) -> tuple[Run, str, str]:
    """(run, group, query id) of ``RUN``, ``RUN/QUERY`` or ``RUN/GROUP/QUERY``; each may hold a ``/``."""
    parts = what.split("/")
    for end in range(len(parts) - 1, 0, -1):
        try:
            run = await store.runs.get("/".join(parts[:end]))
        except NotFoundError:
            continue
        rest = "/".join(parts[end:])
        if any(rest in ids for ids in run.expected.values()):
            return run, "", rest
        for group, ids in run.expected.items():
            if (query_id := rest.removeprefix(f"{group}/")) != rest and query_id in ids:
                return run, group, query_id
        group, _, query_id = rest.rpartition("/")
        return run, group, query_id
    return await store.runs.get(what if len(parts) == 1 else parts[0]), "", ""


async def _trajectories(store: Store, run: Run, group: str, query_id: str) -> list[Trajectory]:
    found = [t async for t in store.runs.trajectories(run.run, group=group, query_id=query_id)]
    groups = sorted({t.group for t in found})
    if len(groups) > 1:
        raise UsageError(
            f"{run.run} has a query {query_id} in {' and '.join(groups)}.",
            hint=f"Write {run.run}/GROUP/{query_id}.",
        )
    if found:
        return found
    known = any(query_id in ids for name, ids in run.expected.items() if group in {"", name})
    raise NotFoundError(
        f"The run {run.run!r} has no answer to query {query_id!r}{' yet' if known else ''}.",
        hint=f"List its answers with: stb show {run.run}.",
    )


async def _verdicts(store: Store, run: Run, found: list[Trajectory]) -> list[list[Verdict]]:
    group, query_id = found[0].group, found[0].query_id
    given = await store.verdicts.of_query(run.run, group, query_id, metric=SOPR)
    return [[v for v in given if v.trial == trajectory.trial] for trajectory in found]
