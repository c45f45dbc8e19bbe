"""``cache``: how often two kinds of keys find a recording, and whether it is ever the recording of another call."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson

from stb_core.cli import CommandRunner
from stb_core.errors import ServiceError
from stb_core.store import sqlite_url
from stb_experiments.near_calls import KINDS, TWINS, exact_text, near_calls, twins
from stb_experiments.official_keys import (
    KeyedCall,
    WorkloadCall,
    read_recordings,
    read_workload,
    request_body,
)
from stb_experiments.originals import read_original
from stb_experiments.output import ExperimentRow, Result, describe_original
from stb_experiments.plots import LineChart

DATASET = "recorded"
HITS, GROWTH, NEAR = "Calls that find a recording", "Growth from an empty cache", "Nearly the same call"
_CONNECTIONS = 16
LIMITS = (
    "Where the recordings come from the replayed systems, the rates say nothing about new agents.",
    "The near calls are made from recorded calls by rules; agents did not write them.",
)


@dataclass(frozen=True)
class ServedCall:
    """How the server answered one call: the source of the answer, and the tier of the cache that had it."""

    provenance: str
    tier: str


Progress = Callable[[int], None]


async def measure_cache(
    release: Path,
    calls: Path,
    scratch: Path,
    environment: dict[str, str],
    *,
    limit: int | None = None,
    near: int | None = None,
    seed: int = 0,
    advance: Progress = lambda _: None,
) -> Result:
    """Replay calls on a server with the recordings of a release, then calls that differ slightly from recorded ones.

    Args:
        release: absolute path of a release in the official layout.
        calls: file of calls, JSON Lines.
        scratch: an empty folder.
        environment: of the processes.
        limit: only the first calls of each system, this many; None for all.
        near: number of recordings that are changed, drawn by ``seed``; None for all.
        seed: of everything that is drawn.
        advance: called with the number of calls that were just answered.

    Raises:
        StbError: a file cannot be used, or the server fails.
    """
    recordings = read_recordings(release)
    workload = list(read_workload(calls, limit))
    chosen = recordings
    if near is not None:
        chosen = random.Random(seed).sample(recordings, min(near, len(recordings)))
    trials = list(_trials(chosen, recordings, random.Random(seed)))
    steps = CommandRunner(
        scratch, environment, variables={"STB_DATABASE_URL": sqlite_url(scratch / "store.db")}
    )
    await steps.run("data", "import", str(release), "--name", DATASET)
    serving = steps.serving("--dataset", DATASET, "--port", "0", "--mode", "simulate")
    async with serving as url, httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        served = await _ask_all(client, [call.body for call in workload], advance)
        answered = await _ask_all(client, [trial.body for trial in trials], advance)
    rows = [
        *hit_rows(workload, served, recordings),
        *growth_rows(workload),
        *near_rows(trials, answered, recordings),
    ]
    original = await read_original(sqlite_url(scratch / "store.db"), DATASET)
    digest = hashlib.sha256(b"".join(call.body for call in workload)).hexdigest()
    settings = {
        **describe_original(original),
        "calls_sha256": digest,
        "limit": limit,
        "near": near,
        "seed": seed,
    }
    return _result(rows, settings)


async def _ask_all(client: httpx.AsyncClient, bodies: Sequence[bytes], advance: Progress) -> list[ServedCall]:
    turns = asyncio.Semaphore(_CONNECTIONS)

    async def ask(body: bytes) -> ServedCall:
        async with turns:
            try:
                response = await client.post("/virtual", content=body)
                response.raise_for_status()
            except httpx.HTTPError as problem:
                raise ServiceError(
                    f"The server did not answer a call ({problem}).", hint="Run it again."
                ) from None
            advance(1)
            headers = response.headers
            return ServedCall(headers.get("x-stb-provenance", ""), headers.get("x-stb-cache", ""))

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(body)) for body in bodies]
    return [task.result() for task in tasks]


def _systems(workload: Iterable[WorkloadCall]) -> list[str]:
    return list(dict.fromkeys(call.system for call in workload))


def hit_rows(
    workload: Sequence[WorkloadCall], served: Sequence[ServedCall], recordings: Sequence[KeyedCall]
) -> list[ExperimentRow]:
    """Per system, and for all: how often each kind of key finds a recording, and what answered, in percent."""
    official, canonical = {k.official for k in recordings}, {k.canonical for k in recordings}
    rows = []
    for system in [*_systems(workload), "all"]:
        mine = [
            (call.keys, how)
            for call, how in zip(workload, served, strict=True)
            if system in {call.system, "all"}
        ]
        n = len(mine)
        tiers = Counter(how.tier for _, how in mine if how.provenance == "recorded")
        origins = Counter(how.provenance or "refused" for _, how in mine)
        rows.append(
            {
                "table": HITS,
                "system": system,
                "calls": n,
                "hits_official": _percent(sum(k is not None and k.official in official for k, _ in mine), n),
                "hits_canonical": _percent(
                    sum(k is not None and k.canonical in canonical for k, _ in mine), n
                ),
                "served_recorded": _percent(origins["recorded"], n),
                "from_memory": _percent(tiers["memory"], n),
                "from_store": _percent(tiers["store"], n),
                "template": _percent(origins["template"], n),
                "other": _percent(n - origins["recorded"] - origins["template"], n),
            }
        )
    return rows


def growth_rows(workload: Sequence[WorkloadCall]) -> list[ExperimentRow]:
    """Per system, in order: share of its calls that were made before, in percent, and the number of keys so far."""
    seen: dict[str, set[object]] = {"official": set(), "canonical": set()}
    rows: list[ExperimentRow] = []
    for system in _systems(workload):
        row: ExperimentRow = {"table": GROWTH, "system": system}
        mine = [call.keys for call in workload if call.system == system and call.keys]
        row["calls"] = len(mine)
        for kind, known in seen.items():
            hits = 0
            for keys in mine:
                key: object = getattr(keys, kind)
                hits += key in known
                known.add(key)
            row[f"seen_{kind}"] = _percent(hits, len(mine))
            row[f"keys_{kind}"] = len(known)
        rows.append(row)
    return rows


@dataclass(frozen=True)
class NearCallTrial:
    """A call made from a recorded one; ``is_recorded`` says whether it should get a recording."""

    kind: str
    body: bytes
    keys: KeyedCall
    is_recorded: bool


def _trials(
    chosen: Sequence[KeyedCall], recordings: Sequence[KeyedCall], rng: random.Random
) -> Iterable[NearCallTrial]:
    known = {(k.call.category, k.call.tool, k.call.api, exact_text(k.call.arguments)) for k in recordings}
    for keys in chosen:
        call = keys.call
        names = call.category, call.tool, call.api
        for kind, text in twins(call.arguments):
            same_call = KeyedCall(call, (*names, str(orjson.loads(text))))
            yield NearCallTrial(kind, request_body(*names, text), same_call, is_recorded=True)
        for kind, arguments in near_calls(call.arguments, rng):
            changed = KeyedCall(type(call)(*names, arguments), (*names, str(arguments)))
            is_recorded = (*names, exact_text(arguments)) in known
            # As JSON text, so that a lone surrogate arrives as an agent would send it.
            text = orjson.dumps(arguments).decode()
            yield NearCallTrial(kind, request_body(*names, text), changed, is_recorded)


def near_rows(
    trials: Sequence[NearCallTrial], answered: Sequence[ServedCall], recordings: Sequence[KeyedCall]
) -> list[ExperimentRow]:
    """Per kind: calls that got the recording of another call, and twins that did not get their own."""
    official = {k.official for k in recordings}
    rows = []
    for kind in (*TWINS, *KINDS):
        mine = [(t, how) for t, how in zip(trials, answered, strict=True) if t.kind == kind]
        other = [(t, how.provenance == "recorded") for t, how in mine if not t.is_recorded]
        same = [(t, how.provenance == "recorded") for t, how in mine if t.is_recorded]
        rows.append(
            {
                "table": NEAR,
                "kind": kind,
                "other_calls": len(other),
                "wrong_hits": sum(is_hit for _, is_hit in other),
                "same_calls": len(same),
                "lost_hits": sum(not is_hit for _, is_hit in same),
                "lost_official": sum(t.keys.official not in official for t, _ in same),
            }
        )
    return rows


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def _result(rows: list[ExperimentRow], settings: dict[str, Any]) -> Result:
    near, growth = ([row for row in rows if row["table"] == table] for table in (NEAR, GROWTH))
    total = next(row for row in rows if row["table"] == HITS and row["system"] == "all")
    wrong, lost = (sum(row[name] for row in near) for name in ("wrong_hits", "lost_hits"))
    tried = sum(row["other_calls"] for row in near)
    same = sum(row["same_calls"] for row in near)
    finding = (
        f"Of {total['calls']} calls {total['hits_official']:.2f} % find a recording by the official text key and"
        f" {total['hits_canonical']:.2f} % by the canonical key. {tried} calls that differ slightly from a recorded call"
        f" got {wrong} wrong recordings; {same} other spellings of recorded calls missed {lost} of theirs"
        f" ({sum(row['lost_official'] for row in near)} by the official key)."
    )
    lines = {
        f"{kind} key": [(float(i), float(row[f"keys_{kind}"])) for i, row in enumerate(growth)]
        for kind in ("official", "canonical")
    }
    names = [row["system"] for row in growth]
    return Result(
        name="cache",
        title="What the cache knows",
        rows=rows,
        tables={
            HITS: (
                *("system", "calls", "hits_official:official key %", "hits_canonical:canonical key %"),
                *("served_recorded:served recorded %", "from_memory:memory %", "from_store:store %"),
                *("template:template %", "other:neither %"),
            ),
            GROWTH: (
                *("system", "calls", "seen_official:seen before, official %"),
                *("seen_canonical:seen before, canonical %", "keys_official:keys so far, official"),
                "keys_canonical:keys so far, canonical",
            ),
            NEAR: (
                *("kind:what differs", "other_calls:other calls", "wrong_hits:wrong hits"),
                *("same_calls:same calls", "lost_hits:lost hits", "lost_official:lost by the official key"),
            ),
        },
        settings=settings,
        passed=wrong == 0 and lost == 0,
        says=(finding,),
        limits=LIMITS,
        charts=[LineChart("growth", "Different calls so far", "after system", "keys", lines, names)],
    )
