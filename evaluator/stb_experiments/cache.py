"""``cache``: how often two kinds of keys find a recording, what else answers, and whether any is wrong."""

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

from stb_core.cli.subcommands import Steps
from stb_core.errors import ServiceError
from stb_core.store.database import sqlite_url
from stb_experiments.near_calls import KINDS, TWINS, exact, near_calls, twins
from stb_experiments.official_keys import Keyed, Recalled, recordings, request_body, workload
from stb_experiments.originals import read_original
from stb_experiments.output import Result, Row, described
from stb_experiments.plots import LineChart

DATASET = "recorded"
HITS, GROWTH, NEAR = "Calls that find a recording", "Growth from an empty cache", "Nearly the same call"
_CONNECTIONS = 16
LIMITS = (
    "Recordings that come from the replayed systems themselves say nothing of the rates of new agents.",
    "The near calls are made by rules from recorded ones; they are not what agents wrote.",
)


@dataclass(frozen=True)
class Served:
    """How the server answered one call: where the answer comes from, and which tier of the cache had it."""

    provenance: str
    tier: str


Progress = Callable[[int], None]


async def cache(
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
    """Replay a workload on a server that has a release's recordings, then calls that are nearly recorded.

    Args:
        release: absolute path of one in the official layout.
        calls: a workload, JSON Lines.
        scratch: an empty folder.
        environment: of the processes.
        limit: the first so many calls of each system.
        near: as many recordings, drawn by ``seed``, are changed; None for all.
        seed: of everything drawn.
        advance: told of calls done.

    Raises:
        StbError: a file cannot be used, or the server fails.
    """
    there = recordings(release)
    asked = list(workload(calls, limit))
    chosen = there if near is None else random.Random(seed).sample(there, min(near, len(there)))
    trials = list(_trials(chosen, there, random.Random(seed)))
    steps = Steps(scratch, environment, variables={"STB_DATABASE_URL": sqlite_url(scratch / "store.db")})
    await steps.run("data", "import", str(release), "--name", DATASET)
    serving = steps.serving("--dataset", DATASET, "--port", "0", "--mode", "simulate")
    async with serving as url, httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        served = await _ask_all(client, [call.body for call in asked], advance)
        answered = await _ask_all(client, [trial.body for trial in trials], advance)
    rows = [*hit_rows(asked, served, there), *growth_rows(asked), *near_rows(trials, answered, there)]
    original = await read_original(sqlite_url(scratch / "store.db"), DATASET)
    digest = hashlib.sha256(b"".join(call.body for call in asked)).hexdigest()
    settings = {**described(original), "calls_sha256": digest, "limit": limit, "near": near, "seed": seed}
    return _result(rows, settings)


async def _ask_all(client: httpx.AsyncClient, bodies: Sequence[bytes], advance: Progress) -> list[Served]:
    turns = asyncio.Semaphore(_CONNECTIONS)

    async def ask(body: bytes) -> Served:
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
            return Served(headers.get("x-stb-provenance", ""), headers.get("x-stb-cache", ""))

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(body)) for body in bodies]
    return [task.result() for task in tasks]


def _systems(asked: Iterable[Recalled]) -> list[str]:
    return list(dict.fromkeys(call.system for call in asked))


def hit_rows(asked: Sequence[Recalled], served: Sequence[Served], there: Sequence[Keyed]) -> list[Row]:
    """For each system and all: rates of hits by kind of key, in percent, and what answered."""
    official, canonical = {k.official for k in there}, {k.canonical for k in there}
    rows = []
    for system in [*_systems(asked), "all"]:
        mine = [
            (call.keys, how)
            for call, how in zip(asked, served, strict=True)
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


def growth_rows(asked: Sequence[Recalled]) -> list[Row]:
    """For each system in order: how many of its calls an earlier call had been, and all keys so far."""
    seen: dict[str, set[object]] = {"official": set(), "canonical": set()}
    rows: list[Row] = []
    for system in _systems(asked):
        row: Row = {"table": GROWTH, "system": system}
        mine = [call.keys for call in asked if call.system == system and call.keys]
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
class Trial:
    """A call made from a recorded one; ``is_recorded`` says whether a recording is its right answer."""

    kind: str
    body: bytes
    keys: Keyed
    is_recorded: bool


def _trials(chosen: Sequence[Keyed], there: Sequence[Keyed], rng: random.Random) -> Iterable[Trial]:
    known = {(k.call.category, k.call.tool, k.call.api, exact(k.call.arguments)) for k in there}
    for keys in chosen:
        call = keys.call
        names = call.category, call.tool, call.api
        for kind, text in twins(call.arguments):
            there_too = Keyed(call, (*names, str(orjson.loads(text))))
            yield Trial(kind, request_body(*names, text), there_too, is_recorded=True)
        for kind, arguments in near_calls(call.arguments, rng):
            changed = Keyed(type(call)(*names, arguments), (*names, str(arguments)))
            is_recorded = (*names, exact(arguments)) in known
            # As JSON text: a lone surrogate and the like are to arrive as an agent would send them.
            text = orjson.dumps(arguments).decode()
            yield Trial(kind, request_body(*names, text), changed, is_recorded)


def near_rows(trials: Sequence[Trial], answered: Sequence[Served], there: Sequence[Keyed]) -> list[Row]:
    """For each kind: recordings given for another call, and twins that were not given theirs."""
    official = {k.official for k in there}
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


def _result(rows: list[Row], settings: dict[str, Any]) -> Result:
    near, growth = ([row for row in rows if row["table"] == table] for table in (NEAR, GROWTH))
    total = next(row for row in rows if row["table"] == HITS and row["system"] == "all")
    wrong, lost = (sum(row[name] for row in near) for name in ("wrong_hits", "lost_hits"))
    tried = sum(row["other_calls"] for row in near)
    same = sum(row["same_calls"] for row in near)
    finding = (
        f"Of {total['calls']} calls {total['hits_official']:.2f} % find a recording by the official text key and"
        f" {total['hits_canonical']:.2f} % by the canonical key. {tried} calls that nearly are a recorded one were"
        f" given {wrong} wrong recordings; {same} other spellings of recorded calls lost {lost} of theirs"
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
                *("kind:what is other", "other_calls:other calls", "wrong_hits:wrong hits"),
                *("same_calls:same calls", "lost_hits:lost hits", "lost_official:lost by the official key"),
            ),
        },
        settings=settings,
        passed=wrong == 0 and lost == 0,
        says=(finding,),
        limits=LIMITS,
        charts=[LineChart("growth", "Different calls so far", "after system", "keys", lines, names)],
    )
