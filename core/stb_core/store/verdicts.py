"""The append-only verdict log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from stb_core import clock, tables
from stb_core.verdicts import Verdict

if TYPE_CHECKING:
    from stb_core.store.store import Store


class Verdicts:
    """Reads and appends verdicts."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def append(self, verdicts: Sequence[Verdict]) -> None:
        """Add verdicts to the log, in one transaction."""
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
        if rows:
            async with self._store.writing() as connection:
                await connection.execute(tables.verdicts.insert(), rows)

    async def of_run(
        self, run: str, *, metric: str = "sopr", judge: str = "", rubric: str = ""
    ) -> list[Verdict]:
        """The log of one run in the order in which it was written."""
        v = tables.verdicts.c
        where = [v.run == run, v.metric == metric]
        if judge:
            where.append(v.judge == judge)
        if rubric:
            where.append(v.rubric == rubric)
        async with self._store.reading() as connection:
            documents = await connection.scalars(sa.select(v.document).where(*where).order_by(v.id))
            return [Verdict.model_validate_json(document) for document in documents]

    async def by_answer(self, answer_hash: str, *, metric: str, judge: str, rubric: str) -> list[Verdict]:
        """Verdicts that this judge and rubric already gave on this very answer, in any run."""
        v = tables.verdicts.c
        async with self._store.reading() as connection:
            documents = await connection.scalars(
                sa.select(v.document)
                .where(
                    v.answer_hash == answer_hash,
                    v.metric == metric,
                    v.judge == judge,
                    v.rubric == rubric,
                )
                .order_by(v.id)
            )
            return [Verdict.model_validate_json(document) for document in documents]
