"""The append-only verdict log."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from stb_core.store import schema
from stb_core.store.database import Database
from stb_core.store.lease import Lease
from stb_core.store.runs import Runs
from stb_core.values import Status, Verdict, clock

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Mark:
    """What scoring needs of one verdict."""

    group: str
    query_id: str
    trial: int
    round: int
    status: Status
    answer_hash: str


@dataclass(frozen=True, slots=True)
class Judged:
    """One judge with one rubric on one run: how many verdicts it gave, in how many rounds."""

    run: str
    metric: str
    judge: str
    rubric: str
    verdicts: int
    rounds: int


class Verdicts:
    """Reads and appends verdicts."""

    def __init__(self, database: Database, runs: Runs) -> None:
        self._database = database
        self._runs = runs

    async def append(self, verdicts: Sequence[Verdict], lease: Lease | None = None) -> None:
        """Add verdicts to the log, in one transaction.

        Raises:
            BusyError: ``lease`` was lost to another session; nothing is added.
        """
        rows = [
            {
                "run": verdict.run,
                "group": verdict.group,
                "query_id": verdict.query_id,
                "trial": verdict.trial,
                "metric": verdict.metric,
                "judge": verdict.judge,
                "rubric": verdict.rubric,
                "round": verdict.round,
                "status": verdict.status.value,
                "answer_hash": verdict.answer_hash,
                "document": verdict.model_dump_json(),
                "created_at": clock.now(),
            }
            for verdict in verdicts
        ]
        await self._database.write(schema.verdicts.insert(), rows, lease)

    async def of_run(
        self, run: str, *, metric: str = "sopr", judge: str = "", rubric: str = ""
    ) -> list[Verdict]:
        """The log of one run in the order in which it was written; of all metrics when that is empty."""
        v = schema.verdicts.c
        where = [v.run == run]
        if metric:
            where.append(v.metric == metric)
        if judge:
            where.append(v.judge == judge)
        if rubric:
            where.append(v.rubric == rubric)
        async with self._database.reading() as connection:
            documents = await connection.scalars(sa.select(v.document).where(*where).order_by(v.id))
            return [Verdict.model_validate_json(document) for document in documents]

    async def of_query(self, run: str, group: str, query_id: str, *, metric: str) -> list[Verdict]:
        """All verdicts on the answers to one query, of every judge, as they were written."""
        v = schema.verdicts.c
        where = v.run == run, v.group == group, v.query_id == query_id, v.metric == metric
        async with self._database.reading() as connection:
            documents = await connection.scalars(sa.select(v.document).where(*where).order_by(v.id))
            return [Verdict.model_validate_json(document) for document in documents]

    async def latest(self, *, metric: str, judge: str, rubric: str, limit: int) -> list[Verdict]:
        """The latest verdicts of one judge and rubric, of all runs, the latest first."""
        v = schema.verdicts.c
        async with self._database.reading() as connection:
            documents = await connection.scalars(
                sa.select(v.document)
                .where(v.metric == metric, v.judge == judge, v.rubric == rubric)
                .order_by(v.id.desc())
                .limit(limit)
            )
            return [Verdict.model_validate_json(document) for document in documents]

    async def marks(self, run: str, *, metric: str, judge: str, rubric: str) -> list[Mark]:
        """The log of one run, judge and rubric without reasons and replies, as it was written."""
        v = schema.verdicts.c
        async with self._database.reading() as connection:
            rows = await connection.execute(
                sa.select(v.group, v.query_id, v.trial, v.round, v.status, v.answer_hash)
                .where(v.run == run, v.metric == metric, v.judge == judge, v.rubric == rubric)
                .order_by(v.id)
            )
            return [Mark(g, q, t, r, Status(status), answer) for g, q, t, r, status, answer in rows]

    async def judges(self, run: str = "", *, metric: str = "") -> list[Judged]:
        """Who judged what: of one run or of all, of one metric or of all."""
        v = schema.verdicts.c
        named = (v.run, v.metric, v.judge, v.rubric)
        statement = sa.select(*named, sa.func.count(), sa.func.count(sa.distinct(v.round)), sa.func.max(v.id))
        if run:
            statement = statement.where(v.run == run)
        if metric:
            statement = statement.where(v.metric == metric)
        async with self._database.reading() as connection:
            rows = await connection.execute(statement.group_by(*named).order_by(sa.func.max(v.id)))
            return [Judged(*row[:6]) for row in rows]

    async def by_answers(
        self,
        answer_hashes: Iterable[str],
        *,
        metric: str,
        judge: str,
        rubric: str,
        own: Collection[str] = (),
    ) -> list[Verdict]:
        """Verdicts that this judge and rubric already gave on these very answers, in any run.

        Of runs that bundles brought only those named in ``own`` count: what others say that a judge said
        is not a verdict on this store's own answers.
        """
        others = {run.run for run in await self._runs.all() if run.brought}.difference(own)
        v = schema.verdicts.c
        found: list[Verdict] = []
        wanted = sorted(set(answer_hashes))
        async with self._database.reading() as connection:
            for start in range(0, len(wanted), _CHUNK):
                documents = await connection.scalars(
                    sa.select(v.document)
                    .where(
                        v.answer_hash.in_(wanted[start : start + _CHUNK]),
                        v.metric == metric,
                        v.judge == judge,
                        v.rubric == rubric,
                    )
                    .order_by(v.id)
                )
                found += [Verdict.model_validate_json(document) for document in documents]
        return [verdict for verdict in found if verdict.run not in others]
