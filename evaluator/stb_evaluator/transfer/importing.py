"""Importing other people's answers and verdicts: one run per system, named after its folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stb_core.errors import ConflictError, UsageError
from stb_core.store import Dataset, Store
from stb_core.values import FINISH, SOPR, Judgement, Manifest, Query, Status, Trajectory, Verdict, group_order
from stb_core.values.queries import STANDARD_GROUPS
from stb_evaluator.formats import AnswerRecord, ReadAnswers, Skipped, read_all, resolve_steps
from stb_evaluator.judges import RECORDED
from stb_evaluator.transfer.votes import ImportedVotes, import_votes, source_name

NO_DATASET = "none"
_UNKNOWN = "unknown"
_ENOUGH = 0.9  # share of imported queries that a dataset must have, word for word, to be theirs


@dataclass(frozen=True)
class ImportedSystem:
    """The result for one system: counts of all that its run now holds, and of what is ``new``."""

    run: str
    kind: str
    dataset: str
    groups: int
    queries: int
    expected: int
    verdicts: int
    new_queries: int
    new_verdicts: int
    not_in_dataset: int

    @property
    def missing(self) -> int:
        """How many expected queries have no answer."""
        return self.expected - (self.queries - self.not_in_dataset)


@dataclass(frozen=True)
class ImportSummary:
    """The result of an import; ``dataset`` is None if the denominator is the union of all answers."""

    runs: list[ImportedSystem]
    votes: list[ImportedVotes]
    skipped: list[Skipped]
    dataset: str | None


async def import_answers(
    store: Store,
    path: Path,
    *,
    dataset: str = "",
    name: str = "",
    advance: Callable[[int, int], None] = lambda _done, _all: None,
) -> ImportSummary:
    """Import all answers under a path. Importing the same files again changes nothing.

    The query ids of ``dataset`` are the denominator; an empty name means the dataset that has these
    queries. For ``"none"``, or if no dataset has them, the denominator is the union of all answers here. So it is for
    a system none of whose groups the dataset has.
    ``name`` replaces the folder's name if there is only one system.

    Raises:
        UsageError: see ``read_all``; several systems and one name.
        ConflictError: a run holds other answers or verdicts than the files; nothing is changed.
    """
    found = read_all(path, advance=advance)
    if name and len(found.records) != 1:
        raise UsageError(
            f"{path} holds {len(found.records)} systems.", hint="Use --name with the folder of one system."
        )
    known = await _find_dataset(store, dataset, found.query_texts())
    queries = await store.datasets.queries(known.id) if known else []
    expected = _expected(found, queries)
    runs = []
    there = {q.group for q in queries}
    asked = {system: _groups_of(found, system) for system in found.records}
    jobs = [
        (
            system,
            await _prepare(
                store,
                name or system,
                found.kinds[system],
                path,
                records,
                known if asked[system] & there else None,
                queries,
            ),
        )
        for system, records in sorted(found.records.items())
    ]
    for system, job in jobs:
        groups = asked[system] & there or asked[system]
        runs.append(await job.write(store, {g: ids for g, ids in expected.items() if g in groups}))
    votes = [await import_votes(store, one, source_name(path)) for one in found.votes]
    return ImportSummary(runs, votes, found.skipped, known.name if known else None)


async def _find_dataset(store: Store, name: str, texts: dict[tuple[str, str], str]) -> Dataset | None:
    if name == NO_DATASET:
        return None
    if name:
        return await store.datasets.get(name)
    best: tuple[float, Dataset | None] = (0.0, None)
    for dataset in await store.datasets.all():
        queries = {(q.group, q.query_id): q.text for q in await store.datasets.queries(dataset.id)}
        share = sum(queries.get(place) == text for place, text in texts.items()) / max(1, len(texts))
        if share >= _ENOUGH and share > best[0]:
            best = (share, dataset)
    return best[1]


def _expected(found: ReadAnswers, queries: Sequence[Query]) -> dict[str, list[str]]:
    """The denominator of every group that any system of this import has answers to, readable or not.

    What a file without a readable record should answer follows from the dataset, from other systems, or from its
    text. A standard group of which none of these says anything has no ids, so that its score is not known.
    """
    answered: dict[str, dict[str, None]] = defaultdict(dict)
    for group, query_id in [place for system in found.records for place in found.named(system)]:
        answered[group][query_id] = None
    for group in {*STANDARD_GROUPS, *(q.group for q in queries)}.intersection(
        set().union(*found.torn.values())
    ):
        answered.setdefault(group, {})
    ids = {group: [q.query_id for q in queries if q.group == group] for group in answered}
    return {
        group: ids[group] or sorted(answered[group], key=_number_first)
        for group in sorted(answered, key=group_order)
    }


def _groups_of(found: ReadAnswers, system: str) -> set[str]:
    """The groups that a system should answer: its own, and those of systems that share a group with it.

    So a group that one system lacks and its companions have is missing, while unrelated answers in the
    same folder add no group to it.
    """
    sets = {
        name: {group for group, _ in found.named(name)} | found.torn.get(name, set())
        for name in found.records
    }
    groups = sets[system]
    while (wider := groups.union(*(other for other in sets.values() if other & groups))) != groups:
        groups = wider
    return groups


def _number_first(query_id: str) -> tuple[int, str]:
    return (int(query_id) if query_id.isdecimal() else -1, query_id)


@dataclass(frozen=True)
class _Job:
    """One system that was compared with the store and can be written without conflict."""

    run: str
    manifest: Manifest
    records: dict[tuple[str, str], AnswerRecord]
    new: list[Trajectory]
    verdicts: list[Verdict]

    async def write(self, store: Store, expected: dict[str, list[str]]) -> ImportedSystem:
        await store.runs.create(self.run, self.manifest, expected)
        await store.runs.expect(self.run, expected)
        await store.runs.put_trajectories(self.run, self.new)
        await store.verdicts.append(self.verdicts)
        held = await store.runs.done(self.run)
        wanted = {
            (group, one) for group, ids in (await store.runs.get(self.run)).expected.items() for one in ids
        }
        marks = await store.verdicts.marks(self.run, metric=SOPR, judge=RECORDED, rubric=RECORDED)
        return ImportedSystem(
            run=self.run,
            kind=self.manifest.imported_from,
            dataset=self.manifest.dataset,
            groups=len({done.group for done in held}),
            queries=len(held),
            expected=len(wanted),
            verdicts=len(marks),
            new_queries=len(self.new),
            new_verdicts=len(self.verdicts),
            not_in_dataset=sum((done.group, done.query_id) not in wanted for done in held),
        )


async def _prepare(
    store: Store,
    run: str,
    kind: str,
    path: Path,
    records: dict[tuple[str, str], AnswerRecord],
    dataset: Dataset | None,
    queries: Iterable[Query],
) -> _Job:
    manifest = Manifest(
        dataset=dataset.name if dataset else _UNKNOWN,
        dataset_hash=dataset.content_hash if dataset else "",
        agent=run,
        mode="imported",
        imported_from=kind,
    )
    by_place = {(q.group, q.query_id): q for q in queries}
    resolved = {
        place: AnswerRecord(resolve_steps(record.trajectory, by_place.get(place)), record.verdicts)
        for place, record in records.items()
    }
    held, given = await _held(store, run, manifest)
    held |= await _read_alike(store, run, held, resolved)
    _refuse_changes(run, resolved, held, given)
    new = [record.trajectory for place, record in resolved.items() if place not in held]
    verdicts = [
        _verdict(run, record.trajectory, number, status).model_copy(update={"source": source_name(path)})
        for place, record in resolved.items()
        for number, status in record.verdicts.items()
        if (*place, number) not in given
    ]
    return _Job(run, manifest, resolved, new, verdicts)


async def _held(
    store: Store, run: str, manifest: Manifest
) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str, int], str]]:
    """What a run of that name already holds: content hashes, and recorded verdicts by round."""
    existing = await store.runs.find(run)
    if existing is None:
        return {}, {}
    if existing.manifest.hash != manifest.hash:
        reason = "was not imported" if not existing.manifest.imported_from else "was imported in another way"
        raise ConflictError(
            f"There is a run {run!r} that {reason} (dataset {existing.dataset}).",
            hint="Give the import another name with --name, or remove that run with: stb rm RUN.",
        )
    held = {(d.group, d.query_id): d.content_hash for d in await store.runs.done(run)}
    marks = await store.verdicts.marks(run, metric=SOPR, judge=RECORDED, rubric=RECORDED)
    return held, {(m.group, m.query_id, m.round): m.status.value for m in marks}


async def _read_alike(
    store: Store,
    run: str,
    held: dict[tuple[str, str], str],
    records: dict[tuple[str, str], AnswerRecord],
) -> dict[tuple[str, str], str]:
    """The new content hashes of answers that an earlier version read from the same files, and kept less of."""
    changed = {
        place: record.trajectory
        for place, record in records.items()
        if place in held and held[place] != record.trajectory.content_hash
    }
    if not changed:
        return {}
    return {
        place: changed[place].content_hash
        async for old in store.runs.trajectories(run)
        if (place := (old.group, old.query_id)) in changed
        and _as_earlier_read(old) == _as_earlier_read(changed[place])
    }


def _as_earlier_read(trajectory: Trajectory) -> dict[str, Any]:
    """The content without what earlier versions did not keep, and without what ``Finish`` returned, which they kept."""
    content = trajectory.content()
    imported = content["imported"] or {}
    content["imported"] = {name: one for name, one in imported.items() if name not in {"answer", "method"}}
    for step in [*content["steps"], *(node["step"] for node in content["tree"] or ())]:
        if step and step["function"] == FINISH:
            step["observation"] = ""
    return content


def _refuse_changes(
    run: str,
    records: dict[tuple[str, str], AnswerRecord],
    held: dict[tuple[str, str], str],
    given: dict[tuple[str, str, int], str],
) -> None:
    groups = {group for group, _ in records}
    changed = [p for p, r in records.items() if p in held and held[p] != r.trajectory.content_hash]
    changed += [
        (g, q)
        for (g, q, number), status in given.items()
        if (g, q) in records and records[g, q].verdicts.get(number) != status
    ]
    gone = [place for place in held if place[0] in groups and place not in records]
    if changed or gone:
        group, query_id = (changed or gone)[0]
        what = "another answer or verdict" if changed else "no answer any more"
        raise ConflictError(
            f"The run {run!r} holds other content: the files have {what} to {group}/{query_id}"
            f" ({len(changed)} changed, {len(gone)} gone).",
            hint="Nothing was changed. Import them under another name with --name.",
        )


def _verdict(run: str, trajectory: Trajectory, number: int, status: Status) -> Verdict:
    return Verdict.of(
        Judgement(status),
        (trajectory.group, trajectory.query_id, 0),
        run=run,
        metric=SOPR,
        judge=RECORDED,
        rubric=RECORDED,
        number=number,
        answer_hash=trajectory.answer_hash,
    )
