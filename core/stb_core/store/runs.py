"""Runs and trajectories in the store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.errors import ConflictError, NotFoundError, suggest_near
from stb_core.store import schema
from stb_core.store.cost_shares import CostShares, Paid
from stb_core.store.database import Database
from stb_core.store.work import EndedClaim, Work
from stb_core.values import Manifest, Query, StopReason, Trajectory, TrialPlace, clock

# Documents fetched at a time; a search tree may be megabytes.
_ROWS = 50

# These stand beside the fields of the manifest, in the same column, and are no part of the manifest.
_BROUGHT = "brought_by_a_bundle"
_REPEATS = "repeats_run"

LATEST = "@latest"
"""The name of whichever run was made last."""


@dataclass(frozen=True)
class Run:
    """One run; ``expected`` maps each group to the ids of the queries it is to answer.

    ``brought`` says that an imported bundle made it, so that its verdicts are not this store's. ``repeats`` is the name
    of the run that it was made anew from.
    """

    run: str
    name: str
    dataset: str
    agent: str
    model: str | None
    manifest: Manifest
    expected: dict[str, list[str]]
    trials: int
    created_at: str
    brought: bool = False
    repeats: str = ""

    @property
    def n_expected(self) -> int:
        """How many trajectories make it complete."""
        return self.trials * sum(len(ids) for ids in self.expected.values())

    @property
    def places(self) -> list[TrialPlace]:
        """The trials that it is to make."""
        return [
            (group, query_id, trial)
            for group, ids in self.expected.items()
            for query_id in ids
            for trial in range(self.trials)
        ]

    def count_done(self, stops: Mapping[TrialPlace, str]) -> int:
        """How many of its trials are done, by why each stopped; those lost to infrastructure are not.

        Every command and page counts by this. Answers to other queries, which an import may bring, do not count.
        """
        return sum(
            stops.get(place, StopReason.INFRASTRUCTURE) != StopReason.INFRASTRUCTURE for place in self.places
        )


@dataclass(frozen=True)
class StoredTrial:
    """The state of one trial: its last attempt, why it stopped and what it is, by hash."""

    group: str
    query_id: str
    trial: int
    attempt: int
    stop: StopReason
    content_hash: str = ""
    answer_hash: str = ""
    created_at: str = field(default="", compare=False)

    @property
    def is_unsolved(self) -> bool:
        """Whether it is unsolved without a judge: it gave up, did not finish, or its answer is blank."""
        return not self.answer_hash and self.stop is not StopReason.INFRASTRUCTURE


@dataclass(frozen=True)
class JournalEntry:
    """A model's reply to the ``occurrence``-th request of that hash within a trial."""

    group: str
    query_id: str
    trial: int
    request_hash: str
    occurrence: int
    reply: str


class Runs:
    """Reads and writes runs, their trajectories and the journal of their model calls."""

    def __init__(self, database: Database, work: Work, cost_shares: CostShares) -> None:
        self._database = database
        self._work = work
        self._cost_shares = cost_shares

    async def create(
        self,
        run: str,
        manifest: Manifest,
        expected: dict[str, list[str]],
        name: str = "",
        *,
        brought: bool = False,
        repeats: str = "",
    ) -> Run:
        """The run of that name, made if it is not there; ``brought`` where that is a bundle's doing.

        ``repeats`` names the run that it is made anew from.

        Raises:
            ConflictError: a run of that name has a different manifest.
        """
        r = schema.runs
        marks = {name: value for name, value in ((_BROUGHT, brought), (_REPEATS, repeats)) if value}
        async with self._database.writing() as connection:
            await connection.execute(
                self._database.insert(r)
                .values(
                    run=run,
                    name=name or run,
                    dataset=manifest.dataset,
                    agent=manifest.agent,
                    model=manifest.model,
                    manifest=manifest.model_dump(mode="json") | marks,
                    manifest_hash=manifest.hash,
                    expected=expected,
                    trials=manifest.trials,
                    created_at=clock.now(),
                )
                .on_conflict_do_nothing()
            )
        found = await self.get(run)
        if found.manifest.hash != manifest.hash:
            raise ConflictError(
                f"A run {run!r} exists with other settings: {', '.join(found.manifest.differences(manifest))}.",
                hint="Choose another name with --name, or make a new run beside it with --fresh.",
            )
        return found

    async def all(self) -> list[Run]:
        """All runs, the oldest first."""
        async with self._database.reading() as connection:
            rows = await connection.execute(
                sa.select(schema.runs).order_by(schema.runs.c.created_at, schema.runs.c.run)
            )
            return [_run(row) for row in rows]

    async def find(self, run: str) -> Run | None:
        """The run of exactly that id."""
        async with self._database.reading() as connection:
            row = (await connection.execute(sa.select(schema.runs).where(schema.runs.c.run == run))).first()
        return None if row is None else _run(row)

    async def get(self, run: str) -> Run:
        """One run by its id or, where that is unambiguous, its name or the beginning of its id.

        ``@latest`` is the run that was made last, unless one has that name.

        Raises:
            NotFoundError: no run fits, or more than one.
        """
        there = await self.all()
        exact = [r for r in there if r.run == run] or [r for r in there if r.name == run]
        matches = exact or [r for r in there if run and r.run.startswith(run)]
        if run == LATEST and not matches:
            matches = there[-1:]
        if len(matches) == 1:
            return matches[0]
        if matches:
            names = ", ".join(r.run for r in matches)
            raise NotFoundError(f"{run!r} may mean several runs: {names}.", hint="Give one in full.")
        near = suggest_near(run, [name for r in there for name in (r.run, r.name)])
        raise NotFoundError(
            f"There is no run {run!r}.", hint=f"{near}List the runs in the store with: stb ls."
        )

    async def expect(self, run: str, expected: dict[str, list[str]]) -> None:
        """Add query ids to those that a run is to answer; none is ever taken away."""
        async with self._database.writing() as connection:
            await self.expect_within(connection, run, expected)

    async def expect_within(
        self, connection: AsyncConnection, run: str, expected: dict[str, list[str]]
    ) -> None:
        """As ``expect``, within the caller's transaction."""
        r = schema.runs
        known = await connection.scalar(sa.select(r.c.expected).where(r.c.run == run).with_for_update())
        merged = {group: list(ids) for group, ids in (known or {}).items()}
        for group, ids in expected.items():
            merged[group] = list(dict.fromkeys([*merged.get(group, []), *ids]))
        if merged != known:
            await connection.execute(r.update().where(r.c.run == run).values(expected=merged))

    async def remove(self, run: str) -> None:
        """Delete a run with its trajectories, verdicts and queries."""
        async with self._database.writing() as connection:
            await connection.execute(schema.runs.delete().where(schema.runs.c.run == run))

    async def put_queries(self, run: str, queries: Sequence[Query]) -> None:
        """Keep queries with a run, beside those of its dataset; those that exist already stay."""
        rows = [
            {"run": run, "group": q.group, "query_id": q.query_id, "document": q.model_dump_json()}
            for q in queries
        ]
        await self._database.write(self._database.insert(schema.run_queries).on_conflict_do_nothing(), rows)

    async def queries(self, run: str) -> list[Query]:
        """The queries that are kept with a run."""
        q = schema.run_queries.c
        async with self._database.reading() as connection:
            documents = await connection.scalars(sa.select(q.document).where(q.run == run))
            return [Query.model_validate_json(document) for document in documents]

    async def put_trajectories(
        self, run: str, trajectories: Sequence[Trajectory], ended: Sequence[EndedClaim] | None = None
    ) -> list[bool]:
        """Add trajectories in one transaction; each becomes the next attempt of its trial.

        Args:
            run: whose they are.
            trajectories: of different trials.
            ended: the claims under which they were made, one for each, if they were claimed.

        Returns:
            For each whether it was added; one whose claim was lost to another process is not.
        """
        rows = [_trajectory_row(run, trajectory) for trajectory in trajectories]
        if not rows:
            return []

        def put(connection: sa.Connection) -> list[bool]:
            kept = [True] * len(rows)
            if ended is not None:
                mine = self._work.end_within(connection, ended)
                kept = [one.claim.item in mine for one in ended]
            if added := [row for row, is_kept in zip(rows, kept, strict=True) if is_kept]:
                connection.execute(_NEXT_ATTEMPT, added)
            return kept

        return await self._database.transact(put)

    async def put_within(
        self, connection: AsyncConnection, run: str, trajectories: Sequence[Trajectory]
    ) -> None:
        """As ``put_trajectories``, within the caller's transaction."""
        await connection.execute(_NEXT_ATTEMPT, [_trajectory_row(run, t) for t in trajectories])

    async def stop_within(
        self, connection: AsyncConnection, run: str, group: str, query_id: str, trial: int
    ) -> StopReason | None:
        """Why the last attempt of a trial stopped; None where there is none."""
        t = schema.trajectories.c
        where = t.run == run, t.group == group, t.query_id == query_id, t.trial == trial
        found = await connection.scalar(sa.select(t.stop).where(*where).order_by(t.attempt.desc()).limit(1))
        return None if found is None else StopReason(found)

    async def done(self, run: str) -> list[StoredTrial]:
        """The last attempt of every trial that has one, without the trajectories themselves."""
        t = schema.trajectories.c
        async with self._database.reading() as connection:
            rows = await connection.execute(
                sa.select(
                    t.group,
                    t.query_id,
                    t.trial,
                    t.attempt,
                    t.stop,
                    t.content_hash,
                    t.answer_hash,
                    t.created_at,
                )
                .where(t.run == run)
                .order_by(t.group, t.query_id, t.trial, t.attempt)
            )
            last = {(row.group, row.query_id, row.trial): row for row in rows}
        return [
            StoredTrial(
                r.group,
                r.query_id,
                r.trial,
                r.attempt,
                StopReason(r.stop),
                r.content_hash,
                r.answer_hash,
                r.created_at,
            )
            for r in last.values()
        ]

    async def needs_judge(self, run: str) -> bool:
        """Whether a run has an answer that a judge must look at, or no trial is done yet.

        What gave up, did not finish or is blank is unsolved without a judge.
        """
        done = await self.done(run)
        return not done or any(one.answer_hash for one in done)

    async def trajectories(
        self, run: str, *, group: str = "", query_id: str = ""
    ) -> AsyncGenerator[Trajectory]:
        """The last attempt of every trial, by group, query and trial."""
        async for document in self.documents(run, group=group, query_id=query_id):
            yield Trajectory.model_validate_json(document)

    async def documents(self, run: str, *, group: str = "", query_id: str = "") -> AsyncGenerator[str]:
        """As ``trajectories``, each as the JSON text that is stored."""
        t = schema.trajectories
        newer = t.alias()
        where = [
            t.c.run == run,
            ~sa.exists().where(
                newer.c.run == t.c.run,
                newer.c.group == t.c.group,
                newer.c.query_id == t.c.query_id,
                newer.c.trial == t.c.trial,
                newer.c.attempt > t.c.attempt,
            ),
        ]
        if group:
            where.append(t.c.group == group)
        if query_id:
            where.append(t.c.query_id == query_id)
        statement = sa.select(t.c.document).where(*where).order_by(t.c.group, t.c.query_id, t.c.trial)
        async with self._database.reading() as connection:
            result = await connection.stream(statement)
            # One row at a time costs more than all else that is done with it.
            async for rows in result.partitions(_ROWS):
                for (document,) in rows:
                    yield document

    async def journalled(self, run: str, group: str, query_id: str, trial: int) -> dict[tuple[str, int], str]:
        """What models already answered in a trial: (request hash, occurrence) → reply."""
        m = schema.model_calls.c
        async with self._database.reading() as connection:
            rows = await connection.execute(
                sa.select(m.request_hash, m.occurrence, m.reply).where(
                    m.run == run, m.group == group, m.query_id == query_id, m.trial == trial
                )
            )
            return {(row.request_hash, row.occurrence): row.reply for row in rows}

    async def has_journal(self, run: str) -> bool:
        """Whether a model was asked in this run before."""
        m = schema.model_calls.c
        async with self._database.reading() as connection:
            return await connection.scalar(sa.select(m.id).where(m.run == run).limit(1)) is not None

    async def journalled_replies(self, run: str) -> AsyncGenerator[str]:
        """All replies in the journal of a run, in no particular order."""
        m = schema.model_calls.c
        async with self._database.reading() as connection:
            async for (reply,) in await connection.stream(sa.select(m.reply).where(m.run == run)):
                yield reply

    async def journal(self, run: str, replies: Sequence[JournalEntry], paid: Paid | None = None) -> float:
        """Write down what models answered, in one transaction; what is on disk is never paid for twice.

        Args:
            run: its id.
            replies: of models, and to which requests.
            paid: what this process has spent, where the cost of the run is limited.

        Returns:
            What this process may spend still, in USD, see ``CostShares``; 0 without ``paid``.
        """
        stamp = clock.now()
        rows = [{"run": run, "created_at": stamp, **asdict(reply)} for reply in replies]
        insert = self._database.insert(schema.model_calls).on_conflict_do_nothing()

        def journal(connection: sa.Connection) -> float:
            if rows:
                connection.execute(insert, rows)
            return self._cost_shares.record_within(connection, run, paid) if paid else 0.0

        return await self._database.transact(journal)


def _next_attempt() -> sa.Insert:
    """Adds a trajectory behind the last attempt of its trial."""
    trial = ("run", "group", "query_id", "trial")
    earlier = schema.trajectories.alias()
    last = sa.select(sa.func.coalesce(sa.func.max(earlier.c.attempt), -1))
    same = [earlier.c[name] == sa.bindparam(f"its_{name}") for name in trial]
    return schema.trajectories.insert().values(attempt=last.where(*same).scalar_subquery() + 1)


_NEXT_ATTEMPT = _next_attempt()


def _trajectory_row(run: str, trajectory: Trajectory) -> dict[str, Any]:
    trial = {
        "run": run,
        "group": trajectory.group,
        "query_id": trajectory.query_id,
        "trial": trajectory.trial,
    }
    return {
        **trial,
        **{f"its_{name}": value for name, value in trial.items()},
        "stop": trajectory.stop.value,
        "document": trajectory.model_dump_json(),
        "content_hash": trajectory.content_hash,
        "answer_hash": trajectory.answer_hash,
        "created_at": clock.now(),
    }


def _run(row: sa.Row[Any]) -> Run:
    return Run(
        run=row.run,
        name=row.name,
        dataset=row.dataset,
        agent=row.agent,
        model=row.model,
        manifest=Manifest.model_validate(row.manifest),
        expected=row.expected,
        trials=row.trials,
        created_at=row.created_at,
        brought=bool(row.manifest.get(_BROUGHT)),
        repeats=str(row.manifest.get(_REPEATS, "")),
    )
