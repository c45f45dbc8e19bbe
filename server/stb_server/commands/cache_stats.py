"""``stb cache stats``: what a dataset's recordings are, and how often calls found one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import click

from stb_core.cli import console
from stb_core.cli.program import secret, stb_command
from stb_core.store import browsing
from stb_core.values.provenance import Provenance
from stb_server.commands.cache_hit_rates import calls_on_record, lookups_of, rate_of, rate_of_lookups
from stb_server.commands.store import opened_store
from stb_server.commands.targets import chosen_dataset


@stb_command("stats")
@click.argument("dataset", default="")
@click.option(
    "--server", default="", help="Also what the server at this address has counted since its start."
)
@click.option("--token", default="", callback=secret, help="The server's token, if it needs one.")
async def stats(dataset: str, server: str, token: str, as_json: bool) -> None:
    """Count responses by origin, with sizes, versions, growth by day, misses, and the hit rate.

    The hit rate is the share of calls that found a recording: of all calls in the store's runs on the
    dataset, and with --server of all look-ups that a server counts, whoever made them.
    """
    async with opened_store() as store:
        there = await chosen_dataset(store, dataset)
        sums = await browsing.sums(store, there.id)
        missed_calls, misses = await store.misses.totals(there.id)
        documented = (await store.datasets.counts(there.id))["apis"]
        calls, runs = await calls_on_record(store, there.name)
    lookups = await lookups_of(server, token) if server else None
    total = sum(share.count for share in sums.shares)
    rows = [
        {
            "provenance": share.provenance.value,
            "responses": share.count,
            "share": round(100 * share.count / total, 2),
            "body_bytes": share.body_bytes,
            "argument_bytes": share.argument_bytes,
        }
        for share in sums.shares
    ]
    facts = {
        "dataset": there.name,
        "responses": total,
        "apis_answered": sums.apis,
        "apis_documented": documented,
        "superseded": sums.superseded,
        "pinned": sums.pinned,
        "missed_calls": missed_calls,
        "misses": misses,
        "runs": runs,
        "calls": dict(sorted(calls.items())),
        "hit_rate": rate_of(calls),
    }
    if lookups is not None:
        facts |= {"server_lookups": lookups, "server_hit_rate": rate_of_lookups(lookups)}
    if as_json:
        days = [{"day": day, "kept": number} for day, number in sums.by_day]
        console.emit_json({**facts, "rows": rows, "by_day": days})
        return
    console.emit_table(
        rows,
        ("provenance", "responses", "share:share %", "body_bytes", "argument_bytes"),
        title=there.name,
    )
    click.echo(
        f"{sums.apis} APIs have answers, {documented} have documents. "
        f"{sums.superseded} superseded versions, {sums.pinned} pinned."
    )
    click.echo(f"{missed_calls} calls were missed, {misses} times in all.")
    click.echo(_told_calls(calls, runs))
    if lookups is not None:
        click.echo(_told_lookups(lookups))
    if len(sums.by_day) > 1:
        console.emit_table([{"day": d, "kept": n} for d, n in sums.by_day], ("day", "kept"))


def _told_calls(calls: Counter[str], runs: int) -> str:
    rate = rate_of(calls)
    if rate is None:
        return "No run has called it yet."
    counted = calls.total() - calls[Provenance.FAULT.value]
    parts = ", ".join(f"{name} {n}" for name, n in calls.most_common())
    told = "1 run" if runs == 1 else f"{runs} runs"
    return f"{rate:.1f} % of {counted} calls in {told} found a recording: {parts}."


def _told_lookups(lookups: Mapping[str, int]) -> str:
    rate = rate_of_lookups(lookups)
    if rate is None:
        return "The server has looked nothing up since its start."
    parts = [f"{tier} {n}" for tier, n in sorted(lookups.items()) if n]
    return f"{rate:.1f} % of the server's {sum(lookups.values())} look-ups found one: {', '.join(parts)}."
