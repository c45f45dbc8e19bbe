"""Everything that a run stored, as bytes that can be compared, and whose fault a difference is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import ne
from typing import Any

import orjson

from stb_core.store import open_store
from stb_core.values import FINISH, Step, Trajectory, canonical_json
from stb_evaluator.scores import MACRO

EntryPlace = tuple[str, ...]
PARTS = ("manifest", "trajectories", "calls", "verdicts", "scores")
# What the agent decides in a step, and what the server decides.
_ASKED = ("function", "arguments")
_ANSWERED = ("observation", "error", "provenance", "key", "truncated")


@dataclass(frozen=True)
class Evidence:
    """One run: for each part its entries, place → canonical JSON, without measurements of time."""

    run: str
    parts: Mapping[str, Mapping[EntryPlace, bytes]] = field(repr=False)

    def size(self, part: str) -> int:
        """Size of a part, in bytes."""
        return sum(map(len, self.parts[part].values()))


async def gather_evidence(database_url: str, run: str, score_rows: Sequence[Mapping[str, Any]]) -> Evidence:
    """Read a run from its store.

    Args:
        database_url: of the store.
        run: its id.
        score_rows: the rows that ``stb score`` printed.

    Raises:
        NotFoundError: there is no such run.
    """
    parts: dict[str, dict[EntryPlace, bytes]] = {part: {} for part in PARTS}
    store = await open_store(database_url, migrate=False)
    try:
        found = await store.runs.get(run)
        parts["manifest"][()] = canonical_json(found.manifest.model_dump(mode="json"))
        async for trajectory in store.runs.trajectories(run):
            place = (trajectory.group, trajectory.query_id, str(trajectory.trial))
            parts["trajectories"][place] = canonical_json(trajectory.content())
            for number, step in enumerate(calls_of(trajectory)):
                parts["calls"][*place, str(number)] = canonical_json(step.model_dump(mode="json"))
        for verdict in await store.verdicts.of_run(run, metric=""):
            asked = (verdict.metric, verdict.judge, verdict.rubric, str(verdict.round))
            judged = (verdict.group, verdict.query_id, str(verdict.trial))
            parts["verdicts"][*judged, *asked] = canonical_json(verdict.model_dump(mode="json"))
    finally:
        await store.close()
    for row in score_rows:
        parts["scores"][row["judge"], row["block"], row["group"]] = canonical_json(dict(row))
    return Evidence(found.run, parts)


def calls_of(trajectory: Trajectory) -> list[Step]:
    """All calls of APIs in a trajectory, those of abandoned branches included."""
    steps = [node.step for node in trajectory.tree or () if node.step] or trajectory.steps
    return [step for step in steps if step.function != FINISH]


def macro_score(evidence: Evidence) -> float | None:
    """The faithful macro score, in percent; None where there is none."""
    for (_, block, group), row in evidence.parts["scores"].items():
        if (block, group) == ("faithful", MACRO):
            value: float | None = orjson.loads(row)["value"]
            return value
    return None


def differing_bytes(a: bytes, b: bytes) -> int:
    """The number of positions at which two texts differ, plus the difference of their lengths."""
    return 0 if a == b else sum(map(ne, a, b)) + abs(len(a) - len(b))


@dataclass(frozen=True)
class EvidenceDifference:
    """How two runs differ: differing bytes and entries by part, the first differing entry, and whose fault it is."""

    bytes: Mapping[str, int]
    entries: Mapping[str, int]
    first: str = ""
    fault: str = ""

    @property
    def total(self) -> int:
        """Differing bytes of all parts."""
        return sum(self.bytes.values())


def compare_evidence(a: Evidence, b: Evidence) -> EvidenceDifference:
    """Compare two runs entry by entry; an entry that one lacks differs in all its bytes."""
    counts, entries = dict.fromkeys(PARTS, 0), dict.fromkeys(PARTS, 0)
    first = fault = ""
    for part in PARTS:
        mine, other = a.parts[part], b.parts[part]
        for place in sorted({*mine, *other}):
            old, new = mine.get(place, b""), other.get(place, b"")
            if old == new:
                continue
            counts[part] += differing_bytes(old, new)
            entries[part] += 1
            if not first:
                first = f"{part} {'/'.join(place)}: {_spot(old, new)}".replace(" :", ":")
                fault = whose_fault(part, old, new)
    return EvidenceDifference(counts, entries, first, fault)


def whose_fault(part: str, old: bytes, new: bytes) -> str:
    """Who caused two entries of a part to differ: ``dataset``, ``agent``, ``server``, ``judge`` or ``scoring``.

    ``dataset`` means that the task itself differed. In a trajectory it is the server if the same call, after the same
    calls, got another answer; otherwise the agent.
    """
    if part == "trajectories" and old and new:
        return _fault_in_trajectory(orjson.loads(old), orjson.loads(new))
    named = {"manifest": "dataset", "calls": "server", "verdicts": "judge", "scores": "scoring"}
    return named.get(part, "agent")


def _fault_in_trajectory(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    if any(old[name] != new[name] for name in ("query", "available_tools")):
        return "dataset"
    for before, after in zip(_steps(old), _steps(new), strict=False):
        if any(before[name] != after[name] for name in _ASKED):
            return "agent"
        if any(before[name] != after[name] for name in _ANSWERED):
            return "server"
    return "server" if "infrastructure" in {old["stop"], new["stop"]} else "agent"


def _steps(trajectory: Mapping[str, Any]) -> list[dict[str, Any]]:
    nodes = [node["step"] for node in trajectory["tree"] or () if node["step"]]
    return nodes or list(trajectory["steps"])


def _spot(old: bytes, new: bytes, *, width: int = 40) -> str:
    """The texts around the first byte at which two entries differ."""
    if not old or not new:
        return "missing" if not new else "missing before"
    at = next((i for i, (x, y) in enumerate(zip(old, new, strict=False)) if x != y), min(len(old), len(new)))
    start = max(0, at - width // 2)
    before, after = (text[start : at + width // 2].decode(errors="replace") for text in (old, new))
    return f"byte {at}, …{before}… became …{after}…"
