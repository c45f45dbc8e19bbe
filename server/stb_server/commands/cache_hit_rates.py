"""How many calls found a recording: by what runs wrote down of their calls, and by what a server counts.

A call is a hit when its answer was recorded before it was made: provenance ``recorded`` or
``recorded-simulated``. Injected faults are left out; calls that never reached a server have no provenance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import httpx2
import orjson
from prometheus_client.parser import text_string_to_metric_families

from stb_core.errors import ServiceError
from stb_core.store import Store
from stb_core.values.provenance import Provenance

HITS = frozenset({Provenance.RECORDED.value, Provenance.RECORDED_SIMULATED.value})
_LOOKUPS = "stb_cache_lookups_total"
_MISS = "miss"
_TIMEOUT_S = 10


async def calls_on_record(store: Store, dataset: str) -> tuple[Counter[str], int]:
    """Calls by provenance in all trajectories on a dataset, and in how many runs there were any.

    The branches that a search abandoned count too.
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
    """Look-ups of a server's cache since it was started, by the tier that had the answer, or ``miss``.

    Those of all its datasets; a call in a mode that reads no cache is not among them.

    Raises:
        ServiceError: nothing answers there, or something else does.
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
            f"The server at {url} tells no numbers ({reason}).", hint="Check --server."
        ) from None
    return {
        sample.labels["tier"]: int(sample.value)
        for family in families
        for sample in family.samples
        if sample.name == _LOOKUPS
    }


def rate_of_lookups(lookups: Mapping[str, int]) -> float | None:
    """The share of look-ups that found something, in percent; None without look-ups."""
    total = sum(lookups.values())
    return 100 * (total - lookups.get(_MISS, 0)) / total if total else None
