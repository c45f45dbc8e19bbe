"""Locks and proofs: deriving every number of a run again from its bundle in an empty store."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import math
import tempfile
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from stb_core.store import Dataset, Run, Store, open_store, sqlite_url
from stb_core.values import TrialPlace, Verdict, canonical_json
from stb_core.values.lockfile import LockFile
from stb_evaluator.judges import IMPORTED, panel_of_one
from stb_evaluator.scores import ResultRow, RunReader, load_queries, measure_rows, score_rows
from stb_evaluator.transfer.bundles import HEADER, MEMBERS, Bundle, call_lines, write_bundle
from stb_evaluator.transfer.merging import (
    AnswerSummary,
    is_on_answer,
    merge_bundle,
    reason_to_refuse,
    sum_up_answers,
)

# Another version of NumPy, or another processor, may change the last of 16 digits.
_RELATIVE, _ABSOLUTE = 1e-9, 1e-12

# What depends on the whole dataset, of which a bundle has the queries of its run alone.
_OF_DATASET = frozenset({"subset", "n_dataset", "n_clusters", "part_of"})
# What depends on the store in which the numbers are derived.
_OF_STORE = frozenset({"brought_verdicts"})


@dataclass(frozen=True)
class Finding:
    """One check: how many things were checked, and the first difference ("" if there is none)."""

    check: str
    n: int
    first_difference: str = ""

    def row(self) -> ResultRow:
        """The row of a table."""
        return {**asdict(self), "identical": not self.first_difference}


async def bundle_of(store: Store, run: Run) -> bytes:
    """The bundle of a run, as ``stb export`` writes it."""
    queries = await load_queries(store, run)
    asked = [queries[g, q] for g, ids in run.expected.items() for q in ids if (g, q) in queries]
    trajectories = [trajectory async for trajectory in store.runs.trajectories(run.run)]
    return write_bundle(run, asked, trajectories, await _log(store, run))


async def _log(store: Store, run: Run) -> list[Verdict]:
    return await store.verdicts.of_run(run.run, metric="", with_foreign=True)


async def derive_numbers(store: Store, run: Run, *, keep_trajectories: bool = True) -> list[ResultRow]:
    """Every number that follows from the store: scores by each judge, and measures of trajectories.

    Of a run of others the trajectories are not to be kept in memory, however many there are.
    """
    rows: list[ResultRow] = []
    reader = RunReader(store, run, keep_trajectories=keep_trajectories)
    for judged in await store.verdicts.judges(run.run):
        if is_on_answer(judged.metric):
            panel = panel_of_one(judged.judge, judged.rubric)
            rows += await score_rows(reader, panel, rounds=None, metric=judged.metric)
    rows += await measure_rows(reader)
    return [
        {name: value for name, value in row.items() if name not in _OF_DATASET | _OF_STORE} for row in rows
    ]


def lock_dataset(dataset: Dataset) -> LockFile:
    """A dataset as it is now."""
    return LockFile(
        version=importlib.metadata.version("stabletoolbench"),
        dataset=dataset.name,
        dataset_hash=dataset.content_hash,
        snapshot_hash=dataset.responses_hash,
    )


async def lock_run(store: Store, run: Run) -> LockFile:
    """A run as it is now, with all its numbers."""
    judges = [asdict(judged) for judged in await store.verdicts.judges(run.run)]
    return LockFile(
        version=importlib.metadata.version("stabletoolbench"),
        dataset=run.dataset,
        dataset_hash=run.manifest.dataset_hash,
        snapshot_hash=run.manifest.snapshot_hash,
        run=run.run,
        manifest=run.manifest,
        members=member_hashes(await bundle_of(store, run)),
        judges=tuple(judges),
        scores=tuple(await derive_numbers(store, run)),
    )


def member_hashes(bundle: bytes) -> dict[str, str]:
    """SHA-256 of every member of a bundle, unpacked."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


async def prove(
    bundle: Bundle,
    *,
    lock: LockFile | None = None,
    known: Sequence[ResultRow] | None = None,
) -> list[Finding]:
    """Check a bundle and derive all its numbers again, in an empty store and from nothing else.

    Args:
        bundle: as it was read, which has checked its hashes.
        lock: what its parts and numbers are compared with.
        known: numbers to compare with if there is no lock; None for no comparison.
    """
    findings = [
        _listed(bundle),
        _calls(bundle),
        _judged_answers(bundle),
    ]
    if lock is not None:
        findings.append(_members(lock, bundle))
        known = lock.scores
    with tempfile.TemporaryDirectory(prefix="stb-verify-") as folder:
        store = await open_store(sqlite_url(Path(folder) / "store.db"))
        try:
            await merge_bundle(store, bundle, is_proof=True)
            derived = await derive_numbers(store, await store.runs.get(bundle.run), keep_trajectories=False)
        finally:
            await store.close()
    findings.append(_numbers(derived, derived if known is None else known))
    return findings


def _listed(bundle: Bundle) -> Finding:
    """Whether an archive holds the members of a bundle, each once, and nothing else.

    Reading the bundle has checked their content against the checksums of the archive and the hashes in
    ``bundle.json``.
    """
    names = Counter(bundle.members)
    allowed = {HEADER, *MEMBERS}
    odd = next((name for name in sorted(names) if name not in allowed or names[name] > 1), "")
    reason = f"{odd} is in the archive {'twice' if odd in allowed else 'but is not part of a bundle'}"
    return Finding("parts of the bundle", len(allowed), reason if odd else "")


def _calls(bundle: Bundle) -> Finding:
    """Whether the list of calls is that of the trajectories; fields that this version does not know are ignored."""
    derived = (call for trajectory in bundle.trajectories for call in call_lines(trajectory))
    nothing: Mapping[str, Any] = {}
    count, difference = 0, ""
    for mine, other in zip_longest(derived, bundle.calls, fillvalue=nothing):
        count += bool(other)
        is_same = mine and other and all(mine[name] == other[name] for name in mine.keys() & other.keys())
        if not (is_same or difference):
            place = "/".join(str((mine or other).get(name)) for name in ("group", "query_id", "step"))
            difference = f"calls.jsonl, {place}: not what the trajectory says"
    return Finding("list of calls", count, difference)


def _judged_answers(bundle: Bundle) -> Finding:
    """Whether the verdicts are on the bundle's own answers, and those by rules are what the rules say."""
    answers = _answers(bundle)
    count, difference = 0, ""
    for verdict in bundle.verdicts:
        if is_on_answer(verdict.metric):
            count += 1
            reason = "" if difference else reason_to_refuse(verdict, answers)
            if reason:
                place = f"{verdict.group}/{verdict.query_id}, round {verdict.round}"
                said = f"a verdict of {verdict.judge} does not belong to this bundle: {reason}"
                difference = f"{place}: {said}"
    return Finding("answers that were judged", count, difference)


def _answers(bundle: Bundle) -> dict[TrialPlace, AnswerSummary]:
    return sum_up_answers(bundle, {(q.group, q.query_id): q for q in bundle.queries})


def foreign_verdicts(bundle: Bundle) -> list[str]:
    """What of a bundle does not belong to its run: verdicts of other sources, and those on answers it lacks."""
    answers = _answers(bundle)
    counts: Counter[tuple[str, str]] = Counter()
    for verdict in bundle.verdicts:
        if verdict.source:
            counts[verdict.judge, f"they came with {verdict.source}"] += 1
        elif reason := reason_to_refuse(verdict, answers):
            counts[verdict.judge, reason] += 1
    return [
        f"FOREIGN: {count} verdicts of {judge} do not belong to {bundle.run}: {reason}."
        for (judge, reason), count in counts.items()
    ]


async def foreign_in_store(store: Store, run: Run) -> list[str]:
    """The verdicts that the log keeps with a run and that do not belong to it."""
    return [
        f"FOREIGN: {one.verdicts} {one.metric} verdicts of {one.judge} do not belong to {run.run}: they came with"
        f" {one.source}. They count only with --judge {IMPORTED}{one.source}."
        for one in await store.verdicts.brought(run.run)
        if one.is_foreign
    ]


def _members(lock: LockFile, bundle: Bundle) -> Finding:
    found = {**dict.fromkeys(bundle.members, ""), **bundle.sha256}
    for name in sorted({*found, *lock.members}):
        if found.get(name) != lock.members.get(name):
            return Finding("parts of the locked run", len(lock.members), f"{name} is not what was locked")
    return Finding("parts of the locked run", len(lock.members))


def _numbers(derived: Sequence[ResultRow], known: Sequence[Mapping[str, Any]]) -> Finding:
    """Numbers by row; the first that differs is named with both values."""
    here, there = _by_place(derived), _by_place(known)
    count = sum(isinstance(value, int | float) for row in there.values() for value in row.values())
    for place in sorted({*here, *there}):
        mine, other = here.get(place), there.get(place)
        if mine is None or other is None:
            return Finding(
                "numbers", count, f"{' '.join(place)}: is {'missing now' if mine is None else 'new'}"
            )
        for name in other:
            if name == "calls_by_provenance" and "n_calls" not in other:
                continue  # older locks counted only the calls that led to an answer
            if not _is_same(mine.get(name), other[name]):
                words = f"{' '.join(place)}: {name} is {mine.get(name)} and was {other[name]}"
                return Finding("numbers", count, words)
    return Finding("numbers", count)


def _is_same(mine: Any, other: Any) -> bool:
    """Whether two values are the same; numbers to nine digits, for libraries add in another order."""
    if isinstance(mine, float) and isinstance(other, int | float):
        return math.isclose(mine, other, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
    if isinstance(mine, list) and isinstance(other, list) and len(mine) == len(other):
        return all(map(_is_same, mine, other))
    return canonical_json([mine]) == canonical_json([other])


def _by_place(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, ...], Mapping[str, Any]]:
    names = ("metric", "judge", "rubric", "block", "group")
    return {tuple(str(row.get(name, "")) for name in names): row for row in rows}
