"""Summaries of the trajectories of a run, computed once for each state of the run.

Trajectories are only ever added, so their number tells whether a digest is up to date.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson
import sqlalchemy as sa

from stb_core.errors import CallError
from stb_core.store import Run, Store, schema
from stb_core.usage import Usage
from stb_core.values import Step, ToolCall, TrialPlace, count_provenances, made_calls, parse_arguments

_KEPT = 64
_RUNS_OF_USES = 20
_QUERY_LENGTH = 200
_BATCH = 100


@dataclass(frozen=True, slots=True)
class TrialDigest:
    """The summary of one trajectory."""

    group: str
    query_id: str
    trial: int
    query: str
    stop: str
    calls: int
    errors: int
    hallucinated: int
    nodes: int
    usage: Usage
    simulator: Usage | None
    """What the server's simulator consumed for its calls; None if unknown."""
    seconds: float
    provenances: Counter[str]

    @property
    def place(self) -> TrialPlace:
        """Its group, query and trial."""
        return self.group, self.query_id, self.trial


@dataclass(frozen=True)
class RunDigest:
    """The summary of a run: the last attempt of each trial."""

    attempts: int
    trials: dict[TrialPlace, TrialDigest]
    used: dict[str, list[TrialPlace]]
    """Key of a call -> the trials that made it."""

    @property
    def stops(self) -> Counter[str]:
        """How often agents stopped, by reason."""
        return Counter(trial.stop for trial in self.trials.values())

    @property
    def usage(self) -> Usage:
        """What all model calls consumed."""
        return sum((trial.usage for trial in self.trials.values()), Usage())

    @property
    def simulator(self) -> Usage | None:
        """What the server's simulator consumed, as far as known."""
        known = [trial.simulator for trial in self.trials.values() if trial.simulator is not None]
        return sum(known, Usage()) if known else None

    @property
    def provenances(self) -> Counter[str]:
        """Where the answers to all tool calls came from."""
        total: Counter[str] = Counter()
        for trial in self.trials.values():
            total.update(trial.provenances)
        return total

    @property
    def seconds(self) -> float:
        """The total time of all trials, in seconds."""
        return sum(trial.seconds for trial in self.trials.values())


class RunDigests:
    """Cache of the digests of the last runs shown."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, RunDigest] = OrderedDict()
        self._reading: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def get(self, store: Store, run: str) -> RunDigest:
        """The up-to-date digest of a run."""
        async with self._reading[run]:
            attempts = await _count_attempts(store, run)
            digest = self._kept.get(run)
            if digest is None or digest.attempts != attempts:
                digest = await _read_digest(store, run, attempts)
            self._kept[run] = digest
            self._kept.move_to_end(run)
            while len(self._kept) > _KEPT:
                dropped, _ = self._kept.popitem(last=False)
                self._reading.pop(dropped, None)
            return digest

    async def uses(
        self, store: Store, runs: Sequence[Run], key: str, *, limit: int
    ) -> tuple[list[tuple[Run, TrialPlace]], int]:
        """Trials of the latest of these runs that made a call, and how many runs were searched."""
        runs = runs[-_RUNS_OF_USES:]
        uses: list[tuple[Run, TrialPlace]] = []
        for run in reversed(runs):
            places = (await self.get(store, run.run)).used.get(key, [])
            uses += [(run, place) for place in places]
        return uses[:limit], len(runs)


async def _count_attempts(store: Store, run: str) -> int:
    t = schema.trajectories
    async with store.reading() as connection:
        return await connection.scalar(sa.select(sa.func.count()).select_from(t).where(t.c.run == run)) or 0


async def _read_digest(store: Store, run: str, attempts: int) -> RunDigest:
    trials: dict[TrialPlace, TrialDigest] = {}
    used: dict[str, list[TrialPlace]] = defaultdict(list)
    batch: list[str] = []

    async def digest_batch() -> None:
        for trial, keys in await asyncio.to_thread(_digest_all, list(batch)):
            trials[trial.place] = trial
            for key in keys:
                used[key].append(trial.place)
        batch.clear()

    async for document in store.runs.documents(run):
        batch.append(document)
        if len(batch) == _BATCH:
            await digest_batch()
    await digest_batch()
    return RunDigest(attempts, trials, dict(used))


def _digest_all(documents: Iterable[str]) -> list[tuple[TrialDigest, set[str]]]:
    return [_digest(document) for document in documents]


def _digest(document: str) -> tuple[TrialDigest, set[str]]:
    value = orjson.loads(document)
    calls = made_calls(value)
    keys = {key for step in calls if (key := step.get("key") or _key(step))}
    trial = TrialDigest(
        group=value["group"],
        query_id=value["query_id"],
        trial=value["trial"],
        query=value["query"][:_QUERY_LENGTH],
        stop=value["stop"],
        calls=len(calls),
        errors=sum(bool(step["error"]) for step in calls),
        hallucinated=sum(bool(step["hallucinated"]) for step in calls),
        nodes=len(value.get("tree") or ()),
        usage=Usage.model_validate(value["usage"]),
        simulator=Usage.model_validate(simulator_usage)
        if (simulator_usage := value.get("simulator_usage"))
        else None,
        seconds=value["timing"]["seconds"],
        provenances=count_provenances(value),
    )
    return trial, keys


def _key(step: dict[str, str]) -> str:
    if not (step["category"] and step["tool"] and step["api"]):
        return ""
    try:
        return ToolCall(step["category"], step["tool"], step["api"], parse_arguments(step["arguments"])).key
    except CallError:
        return ""


def key_of(step: Step) -> str:
    """The key of an agent's call; "" if the call names no API."""
    return step.key or _key(step.model_dump(include={"category", "tool", "api", "arguments"}))
