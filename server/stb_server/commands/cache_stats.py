"""``stb cache stats``: counts of recorded responses, and how often calls found one.

A call is a hit if its answer was recorded before the call: provenance ``recorded`` or
``recorded-simulated``. Injected faults do not count, nor do calls that never reached a server, which have
no provenance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import click
import httpx2
import orjson
from prometheus_client.parser import text_string_to_metric_families

from stb_core.cli import console, secret, stb_command
from stb_core.cli.store import choose_dataset, opened_store
from stb_core.errors import ServiceError
from stb_core.store import Store, browsing
from stb_core.values import Provenance

HITS = frozenset({Provenance.RECORDED.value, Provenance.RECORDED_SIMULATED.value})
_LOOKUPS = "stb_cache_lookups_total"
_MISS = "miss"
_TIMEOUT_S = 10


@stb_command("stats")
@click.argument("dataset", default="")
@click.option("--server", default="", help="Also show the cache lookups of the server at this URL.")
@click.option("--token", default="", callback=secret, help="Token of that server, if it needs one.")
async def stats(dataset: str, server: str, token: str, as_json: bool) -> None:
    """Count responses by provenance, with sizes, versions, growth by day, misses and the hit rate.

    The hit rate is the share of calls that found a recording, over all calls in the store's runs on
    the dataset. With --server it is also given for all lookups of a server since its start.
    """
    async with opened_store() as store:
        target = await choose_dataset(store, dataset)
        sums = await browsing.sums(store, target.id)
        missed_calls, misses = await store.misses.totals(target.id)
        documented = (await store.datasets.counts(target.id))["apis"]
        calls, runs = await calls_on_record(store, target.name)
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
        "dataset": target.name,
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
        title=target.name,
    )
    click.echo(
        f"{sums.apis} APIs have answers, {documented} have documents. "
        f"{sums.superseded} superseded versions, {sums.pinned} pinned."
    )
    click.echo(f"{missed_calls} different calls were missed, {misses} times in total.")
    click.echo(_describe_calls(calls, runs))
    if lookups is not None:
        click.echo(_describe_lookups(lookups))
    if len(sums.by_day) > 1:
        console.emit_table([{"day": d, "kept": n} for d, n in sums.by_day], ("day", "kept"))


def _describe_calls(calls: Counter[str], runs: int) -> str:
    rate = rate_of(calls)
    if rate is None:
        return "No run has made calls yet."
    counted = calls.total() - calls[Provenance.FAULT.value]
    parts = ", ".join(f"{name} {n}" for name, n in calls.most_common())
    in_runs = "1 run" if runs == 1 else f"{runs} runs"
    return f"{rate:.1f} % of {counted} calls in {in_runs} found a recording: {parts}."


def _describe_lookups(lookups: Mapping[str, int]) -> str:
    rate = rate_of_lookups(lookups)
    if rate is None:
        return "The server has made no cache lookups since its start."
    parts = [f"{tier} {n}" for tier, n in sorted(lookups.items()) if n]
    return (
        f"{rate:.1f} % of the server's {sum(lookups.values())} lookups found a recording: {', '.join(parts)}."
    )


async def calls_on_record(store: Store, dataset: str) -> tuple[Counter[str], int]:
    """Count calls by provenance in all trajectories on a dataset, and the runs that made calls.

    Calls in abandoned branches of a search count as well.
    """
    calls: Counter[str] = Counter()
    runs = 0
    for run in await store.runs.all():
        if run.dataset != dataset:
            continue
        found: Counter[str] = Counter()
        async for document in store.runs.documents(run.run):
            found.update(_provenances(orjson.loads(document)))
        calls += found
        runs += bool(found)
    return calls, runs


def _provenances(trajectory: Mapping[str, Any]) -> list[str]:
    in_tree = [node["step"] for node in trajectory.get("tree") or () if node.get("step")]
    steps = in_tree or trajectory["steps"]
    return [step["provenance"] for step in steps if step.get("provenance")]


def rate_of(calls: Mapping[str, int]) -> float | None:
    """The share of calls that found a recording, in percent; None without calls."""
    counted = {name: n for name, n in calls.items() if name != Provenance.FAULT.value}
    total = sum(counted.values())
    return 100 * sum(n for name, n in counted.items() if name in HITS) / total if total else None


async def lookups_of(url: str, token: str) -> dict[str, int]:
    """Get the cache lookups of a server since its start, by the tier that had the answer, or ``miss``.

    They cover all its datasets, without calls in modes that do not read the cache.

    Raises:
        ServiceError: no server of ours answers at the URL.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with httpx2.AsyncClient(timeout=_TIMEOUT_S, headers=headers) as client:
            response = await client.get(f"{url.rstrip('/')}/metrics")
        if response.status_code != 200:
            raise ServiceError(f"{url}/metrics answers HTTP {response.status_code}.", hint="Check --token.")
        families = list(text_string_to_metric_families(response.text))
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as problem:
        reason = str(problem) or type(problem).__name__
        raise ServiceError(
            f"The server at {url} returned no metrics ({reason}).", hint="Check --server."
        ) from None
    return {
        sample.labels["tier"]: int(sample.value)
        for family in families
        for sample in family.samples
        if sample.name == _LOOKUPS
    }


def rate_of_lookups(lookups: Mapping[str, int]) -> float | None:
    """The share of lookups that found a recording, in percent; None without lookups."""
    total = sum(lookups.values())
    return 100 * (total - lookups.get(_MISS, 0)) / total if total else None
