"""What the processes of a run may spend together: each reserves a share of the limit before it spends it.

A row for each process says what it has spent and what it may spend still. One row with no owner says what the
processes spent that have ended. Whoever changes how much is reserved locks that row, so that no two processes reserve
the same money.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from stb_core.store import schema
from stb_core.store.database import Database
from stb_core.store.work import Work

_SLICE = 0.05
"""The part of the limit that a process reserves at a time, while enough is left for all."""
_ENDED = ""

_t = schema.cost_shares.c


@dataclass(frozen=True)
class Paid:
    """What a process has spent since it said so last, in USD; ``owner`` is its mark."""

    owner: str
    usd: float


@dataclass(frozen=True)
class CostShare:
    """How the limit of a run stands, in USD."""

    reserved_usd: float
    """What this process may spend still."""
    spent_usd: float
    """By all processes, as far as they have said so."""


class CostShares:
    """Reads and writes what is spent and reserved of the limits of runs."""

    def __init__(self, database: Database, work: Work) -> None:
        self._database = database
        self._work = work

    async def begin(self, run: str, owner: str, on_record_usd: float) -> None:
        """Count what the journal of a run says that it has cost, whoever did it.

        Args:
            run: its id.
            owner: this process.
            on_record_usd: the cost of all replies in the journal.
        """

        def begin(connection: sa.Connection) -> None:
            rows = self._lock(connection, run, owner)
            ended_usd, _ = rows.pop(_ENDED)
            earlier_usd = on_record_usd - sum(spent for spent, _ in rows.values())
            self._put(connection, run, _ENDED, max(ended_usd, earlier_usd), 0.0)

        await self._database.transact(begin)

    async def reserve(
        self, run: str, paid: Paid, limit_usd: float, *, held_usd: float, more_usd: float
    ) -> CostShare:
        """Reserve ``held_usd``, and a slice of the limit of at least ``more_usd`` where that much is left.

        What the process reserved before and needs no more is free for others.

        Args:
            run: its id.
            paid: what this process has spent since it said so last.
            limit_usd: the most that all processes may spend.
            held_usd: the most that the calls under way can cost.
            more_usd: the most that the next call can cost; 0 where none is to be made.
        """

        def reserve(connection: sa.Connection) -> CostShare:
            rows = self._lock(connection, run, paid.owner)
            mine_usd = rows.get(paid.owner, (0.0, 0.0))[0] + paid.usd
            rows[paid.owner] = (mine_usd, held_usd)
            spent_usd = sum(spent for spent, _ in rows.values())
            free_usd = limit_usd - spent_usd - sum(reserved for _, reserved in rows.values())
            slice_usd = 0.0
            if 0 < more_usd <= free_usd:
                fair_usd = free_usd / (len(rows) - 1)
                slice_usd = min(free_usd, max(more_usd, min(limit_usd * _SLICE, fair_usd)))
            self._put(connection, run, paid.owner, mine_usd, held_usd + slice_usd)
            return CostShare(held_usd + slice_usd, spent_usd)

        return await self._database.transact(reserve)

    def record_within(self, connection: sa.Connection, run: str, paid: Paid) -> float:
        """Say what a process has spent, within the caller's transaction; returns what it may spend still, in USD."""
        left_usd = _t.reserved_usd - paid.usd
        row = {"run": run, "owner": paid.owner, "spent_usd": paid.usd, "reserved_usd": 0.0}
        insert = self._database.insert(schema.cost_shares).values(row)
        statement = insert.on_conflict_do_update(
            index_elements=[_t.run, _t.owner],
            set_={
                "spent_usd": _t.spent_usd + paid.usd,
                "reserved_usd": sa.case((left_usd > 0, left_usd), else_=0.0),
            },
        ).returning(_t.reserved_usd)
        reserved_usd: float = connection.execute(statement).scalar_one()
        return reserved_usd

    async def leave(self, run: str, paid: Paid) -> None:
        """Give back what a process has reserved and not spent."""

        def leave(connection: sa.Connection) -> None:
            rows = self._lock(connection, run, paid.owner)
            mine_usd, _ = rows.get(paid.owner, (0.0, 0.0))
            self._put(connection, run, _ENDED, rows[_ENDED][0] + mine_usd + paid.usd, 0.0)
            connection.execute(schema.cost_shares.delete().where(_t.run == run, _t.owner == paid.owner))

        await self._database.transact(leave)

    def _lock(self, connection: sa.Connection, run: str, owner: str) -> dict[str, tuple[float, float]]:
        """What each process has spent and reserved, when no other can reserve; shares of dead ones are dissolved."""
        first = {"run": run, "owner": _ENDED, "spent_usd": 0.0, "reserved_usd": 0.0}
        insert = self._database.insert(schema.cost_shares).values(first).on_conflict_do_nothing()
        connection.execute(insert)
        its = schema.cost_shares.select().where(_t.run == run)
        connection.execute(its.where(_t.owner == _ENDED).with_for_update())
        rows = {row.owner: (row.spent_usd, row.reserved_usd) for row in connection.execute(its)}
        dead = rows.keys() - self._work.alive_within(connection, run) - {owner, _ENDED}
        if dead:
            gone = (
                schema.cost_shares.delete().where(_t.run == run, _t.owner.in_(dead)).returning(_t.spent_usd)
            )
            ended_usd = rows[_ENDED][0] + sum(connection.scalars(gone))
            self._put(connection, run, _ENDED, ended_usd, 0.0)
            rows = {one: row for one, row in rows.items() if one not in dead} | {_ENDED: (ended_usd, 0.0)}
        return rows

    def _put(
        self, connection: sa.Connection, run: str, owner: str, spent_usd: float, reserved_usd: float
    ) -> None:
        row = {"run": run, "owner": owner, "spent_usd": spent_usd, "reserved_usd": reserved_usd}
        insert = self._database.insert(schema.cost_shares).values(row)
        values = {"spent_usd": spent_usd, "reserved_usd": reserved_usd}
        connection.execute(insert.on_conflict_do_update(index_elements=[_t.run, _t.owner], set_=values))
