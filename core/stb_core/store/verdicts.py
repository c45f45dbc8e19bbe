"""The append-only verdict log."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from stb_core.store import schema
from stb_core.store.database import Database
from stb_core.store.runs import Runs
from stb_core.store.work import EndedClaim, Work
from stb_core.values import Status, Verdict, clock
from stb_core.values.verdicts import COPY_OF_ROUND

_CHUNK = 500
_QUESTION = ("metric", "judge", "rubric", "group", "query_id", "trial", "round", "answer_hash")
"""What identifies a verdict among those that are added together."""
_IN_COLUMNS = {"source", "is_foreign"}
_COPY_MEMBER = f'"{COPY_OF_ROUND}":'  # cannot stand within a string of JSON, where quotes are escaped


@dataclass(frozen=True, slots=True)
class Mark:
    """What scoring needs of one verdict; ``is_copy`` as ``Verdict.is_copy``."""

    group: str
    query_id: str
    trial: int
    round: int
    status: Status
    answer_hash: str
    is_copy: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """One judge with one rubric on one run: how many verdicts it gave, in how many rounds."""

    run: str
    metric: str
    judge: str
    rubric: str
    verdicts: int
    rounds: int


@dataclass(frozen=True, slots=True)
class BroughtVerdicts:
    """The verdicts of one judge with one rubric on one run that came with ``source``."""

    metric: str
    judge: str
    rubric: str
    source: str
    is_foreign: bool
    verdicts: int


class Verdicts:
    """Reads and appends verdicts."""

    def __init__(self, database: Database, runs: Runs, work: Work) -> None:
        self._database = database
        self._runs = runs
        self._work = work

    async def append(self, verdicts: Sequence[Verdict]) -> int:
        """Add verdicts to the log, in one transaction.

        A readable verdict on a question that the log answers already is dropped; returns how many were.
        """
        rows = [_verdict_row(verdict) for verdict in verdicts]
        insert = self._database.insert(schema.verdicts).on_conflict_do_nothing()
        return len(rows) - await self._database.write(insert.returning(schema.verdicts.c.id), rows)

    async def append_claimed(
        self, verdicts: Sequence[Verdict], ended: Sequence[EndedClaim | None]
    ) -> list[bool]:
        """As ``append``, for verdicts that were given under claims, one or None for each.

        Returns for each whether it was added; one whose claim was lost to another process is not either.
        """
        rows = [_verdict_row(verdict) for verdict in verdicts]
        columns = [schema.verdicts.c[name] for name in _QUESTION]
        insert = self._database.insert(schema.verdicts).on_conflict_do_nothing().returning(*columns)

        def append(connection: sa.Connection) -> list[bool]:
            mine = self._work.end_within(connection, [one for one in ended if one])
            held = [
                row for row, one in zip(rows, ended, strict=True) if one is None or one.claim.item in mine
            ]
            added = {tuple(row) for row in connection.execute(insert, held)} if held else set()
            return [tuple(row[name] for name in _QUESTION) in added for row in rows]

        return await self._database.transact(append)

    async def of_run(
        self,
        run: str,
        *,
        metric: str = "sopr",
        judge: str = "",
        rubric: str = "",
        with_foreign: bool = False,
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
        if not with_foreign:
            where.append(v.is_foreign == 0)
        return await self._read(where)

    async def of_query(self, run: str, group: str, query_id: str, *, metric: str) -> list[Verdict]:
        """All verdicts on the answers to one query, of every judge, as they were written; also foreign ones."""
        v = schema.verdicts.c
        return await self._read([v.run == run, v.group == group, v.query_id == query_id, v.metric == metric])

    async def first_rounds(self, *, metric: str, judge: str, rubric: str, limit: int) -> list[Verdict]:
        """Readable verdicts of the first round on answers of runs that no bundle brought, by the answers' hashes."""
        v = schema.verdicts.c
        others = [run.run for run in await self._runs.all() if run.brought]
        where = [
            v.metric == metric,
            v.judge == judge,
            v.rubric == rubric,
            v.round == 0,
            v.status != Status.ERROR.value,
            v.is_foreign == 0,
            v.run.not_in(others),
        ]
        return await self._read(where, v.answer_hash, v.id, limit=limit)

    async def latest(self, *, metric: str, judge: str, rubric: str, limit: int) -> list[Verdict]:
        """The latest verdicts of one judge and rubric, of all runs, the latest first; no foreign ones."""
        v = schema.verdicts.c
        where = [v.metric == metric, v.judge == judge, v.rubric == rubric, v.is_foreign == 0]
        return await self._read(where, v.id.desc(), limit=limit)

    async def _read(
        self,
        where: Sequence[sa.ColumnElement[bool]],
        *order: sa.ColumnElement[Any],
        limit: int | None = None,
    ) -> list[Verdict]:
        """Verdicts in an order, by default in that in which they were written."""
        v = schema.verdicts.c
        statement = sa.select(v.document, v.source, v.is_foreign).where(*where)
        async with self._database.reading() as connection:
            rows = await connection.execute(statement.order_by(*(order or (v.id,))).limit(limit))
            return [_verdict(*row) for row in rows]

    async def marks(self, run: str, *, metric: str, judge: str, rubric: str, source: str = "") -> list[Mark]:
        """The log of one run, judge and rubric without reasons and replies, as it was written.

        With a ``source`` only the verdicts that it brought, foreign or not; otherwise all that belong to the run.
        """
        v = schema.verdicts.c
        chosen = v.source == source if source else v.is_foreign == 0
        async with self._database.reading() as connection:
            rows = await connection.execute(
                sa.select(
                    v.group,
                    v.query_id,
                    v.trial,
                    v.round,
                    v.status,
                    v.answer_hash,
                    v.document.contains(_COPY_MEMBER),
                )
                .where(v.run == run, v.metric == metric, v.judge == judge, v.rubric == rubric, chosen)
                .order_by(v.id)
            )
            return [Mark(g, q, t, r, Status(s), answer, bool(c)) for g, q, t, r, s, answer, c in rows]

    async def judges(self, run: str = "", *, metric: str = "") -> list[Judged]:
        """Who judged what: of one run or of all, of one metric or of all; without foreign verdicts."""
        v = schema.verdicts.c
        named = (v.run, v.metric, v.judge, v.rubric)
        statement = sa.select(*named, sa.func.count(), sa.func.count(sa.distinct(v.round)), sa.func.max(v.id))
        statement = statement.where(v.is_foreign == 0)
        if run:
            statement = statement.where(v.run == run)
        if metric:
            statement = statement.where(v.metric == metric)
        async with self._database.reading() as connection:
            rows = await connection.execute(statement.group_by(*named).order_by(sa.func.max(v.id)))
            return [Judged(*row[:6]) for row in rows]

    async def brought(self, run: str) -> list[BroughtVerdicts]:
        """The verdicts on a run that came with files or bundles, in the order in which they came."""
        v = schema.verdicts.c
        named = (v.metric, v.judge, v.rubric, v.source, v.is_foreign)
        statement = sa.select(*named, sa.func.count()).where(v.run == run, v.source != "").group_by(*named)
        async with self._database.reading() as connection:
            rows = await connection.execute(statement.order_by(sa.func.max(v.id)))
            return [BroughtVerdicts(m, j, r, s, bool(f), n) for m, j, r, s, f, n in rows]

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
        is not a verdict on this store's own answers. Foreign verdicts never count.
        """
        others = {run.run for run in await self._runs.all() if run.brought}.difference(own)
        v = schema.verdicts.c
        found: list[Verdict] = []
        wanted = sorted(set(answer_hashes))
        async with self._database.reading() as connection:
            for start in range(0, len(wanted), _CHUNK):
                rows = await connection.execute(
                    sa.select(v.document, v.source, v.is_foreign)
                    .where(
                        v.answer_hash.in_(wanted[start : start + _CHUNK]),
                        v.metric == metric,
                        v.judge == judge,
                        v.rubric == rubric,
                        v.is_foreign == 0,
                    )
                    .order_by(v.id)
                )
                found += [_verdict(*row) for row in rows]
        return [verdict for verdict in found if verdict.run not in others]


def _verdict_row(verdict: Verdict) -> dict[str, Any]:
    return {
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
        "document": verdict.model_dump_json(exclude=_IN_COLUMNS),
        "created_at": clock.now(),
        "source": verdict.source,
        "is_foreign": int(verdict.is_foreign),
    }


def _verdict(document: str, source: str, is_foreign: int) -> Verdict:
    verdict = Verdict.model_validate_json(document)
    if not source:  # nearly all, and there are very many
        return verdict
    return verdict.model_copy(update={"source": source, "is_foreign": bool(is_foreign)})
