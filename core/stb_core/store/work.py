"""Work of runs: pieces that processes claim, do once and write down, see docs/decisions/claims.md.

The store is the queue. A process holds a claim for ``LEASE_S`` and renews it. A result is written in the same
transaction that ends its claim; where the claim was lost to another process meanwhile, it is not written.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import orjson
import sqlalchemy as sa

from stb_core.store import schema
from stb_core.store.database import Database
from stb_core.values import processes

LEASE_S = 30.0
"""How long a claim outlives a process that died on another machine."""
MAX_TRIES = 3
"""A piece that was begun this often without a result ends the processes that do it."""
OPEN, CLAIMED, DONE, FAILED = "open", "claimed", "done", "failed"
TRIAL, VERDICT, ANCHORS = "trial", "verdict", "anchors"
GO, PAUSED, DRAINED = "go", "paused", "drained"

_CLOCK_STEP_S = 5.0
"""How far the clock of a database may be set back. A lease that ends later than one that begins now plus this was
written by a clock that was ahead, and counts as ended."""
_REMEMBERED_S = 600.0
"""How long ``stb ps`` shows a worker that ended without a word."""
_CHUNK = 2000

_t = schema.work.c
_w = schema.workers.c
_o = schema.work_orders.c


@dataclass(frozen=True)
class WorkPlace:
    """Which work is meant: of one run and one kind."""

    run: str
    kind: str


@dataclass(frozen=True)
class Claim:
    """A piece of work that this process may do; ``fence`` says under which claim, ``tries`` how often it was begun."""

    place: WorkPlace
    item: str
    position: int
    fence: int
    tries: int

    @property
    def is_hopeless(self) -> bool:
        """Whether it was begun too often without a result to be begun again."""
        return self.tries > MAX_TRIES

    def ended(self, state: str) -> EndedClaim:
        """What to write with the result of the piece: ``DONE``, or ``FAILED`` where it is to be done again some time."""
        return EndedClaim(self, state)


@dataclass(frozen=True)
class EndedClaim:
    """A claim, and the state in which its piece is left."""

    claim: Claim
    state: str


@dataclass(frozen=True)
class WorkerRow:
    """A process that does work; ``is_alive`` if it renews its lease and, on this machine, is there."""

    owner: str
    run: str
    kind: str
    part: str
    machine: str
    pid: int
    slots: int
    done: int
    began_at: float
    """By the clock of the database."""
    seconds: float
    """Since it began."""
    is_alive: bool

    @property
    def is_gone(self) -> bool:
        """Whether it certainly ended."""
        return _is_gone(self.owner)


def _is_gone(owner: str) -> bool:
    holder = processes.read_mark(owner)
    return bool(holder and holder.is_gone)


class Work:
    """Reads and writes the pieces of work of runs."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._now = _now(is_sqlite=database.is_sqlite)
        self._rows = _rows_given(is_sqlite=database.is_sqlite)

    # Pieces

    async def put(
        self, place: WorkPlace, items: Mapping[str, int], still_left: Callable[[], Awaitable[Collection[str]]]
    ) -> None:
        """Make the pieces that are not there yet, and open again those that ended and are left all the same.

        Any number of processes may do it at once.

        Args:
            place: whose they are.
            items: what is left, with the order in which it is claimed.
            still_left: reads from the log what is left. It is asked after the states were read, since a piece that
                another process is ending now would otherwise be done twice.
        """
        for chunk in _chunks(list(items.items())):
            rows = [{"run": place.run, "kind": place.kind, "item": i, "position": n} for i, n in chunk]
            await self._database.write(self._database.insert(schema.work).on_conflict_do_nothing(), rows)
        ended = {
            item: fence
            for item, (state, fence) in (await self.states(place, items)).items()
            if state in _ENDED
        }
        if not ended:
            return
        left = set(await still_left())
        again = [(item, fence, OPEN) for item, fence in ended.items() if item in left]
        # The fence grows, so that of several processes that saw the same state one opens the piece.
        where = _t.state.in_(_ENDED)
        values = {"state": OPEN, "is_left": 1, "tries": 0, "fence": _t.fence + 1, "owner": "", "until": 0.0}

        def open_again(connection: sa.Connection) -> None:
            for rows in _chunks(again):
                self._change(connection, place, rows, values, where)

        await self._database.transact(open_again)

    async def states(self, place: WorkPlace, items: Iterable[str]) -> dict[str, tuple[str, int]]:
        """State and fence of these pieces, as far as they are there."""
        found: dict[str, tuple[str, int]] = {}
        async with self._database.reading() as connection:
            for chunk in _chunks(list(items)):
                given = orjson.dumps([[item, 0, ""] for item in chunk]).decode()
                wanted = sa.select(self._rows.c.item)
                statement = sa.select(_t.item, _t.state, _t.fence).where(
                    _t.run == place.run, _t.kind == place.kind, _t.item.in_(wanted)
                )
                for row in await connection.execute(statement, {"rows": given}):
                    found[row.item] = (row.state, row.fence)
        return found

    async def claim(
        self, place: WorkPlace, owner: str, n: int, *, after: int = -1, among: Sequence[str] | None = None
    ) -> list[Claim]:
        """Claim up to ``n`` pieces that nobody holds, those that come first.

        Args:
            place: whose they are.
            owner: the process that claims them.
            n: the most that it can begin.
            after: only those behind this position.
            among: only these, if given.
        """
        statement = self._claim_any
        given = {
            "run_": place.run,
            "kind_": place.kind,
            "after_": after,
            "n_": n,
            "owner_": owner,
        }
        if among is not None:
            statement = self._claim_among
            given["rows"] = orjson.dumps([[item, 0, ""] for item in among]).decode()
        rows = await self._database.transact(lambda c: c.execute(statement, given).all())
        claims = [Claim(place, row.item, row.position, row.fence, row.tries) for row in rows]
        return sorted(claims, key=lambda claim: claim.position)

    @cached_property
    def _claim_any(self) -> sa.Update:
        return self._claiming()

    @cached_property
    def _claim_among(self) -> sa.Update:
        return self._claiming(_t.item.in_(sa.select(self._rows.c.item)))

    def _claiming(self, *more: sa.ColumnElement[bool]) -> sa.Update:
        run, kind = sa.bindparam("run_", type_=sa.String), sa.bindparam("kind_", type_=sa.String)
        after = sa.bindparam("after_", type_=sa.BigInteger)
        free = (
            sa.select(_t.item)
            .where(_t.run == run, _t.kind == kind, _t.is_left == sa.literal_column("1"), _t.position > after)
            .where((_t.state == OPEN) | ~self._lasts(_t.until), *more)
            .order_by(_t.position)
            .limit(sa.bindparam("n_", type_=sa.Integer))
            .with_for_update(skip_locked=True)
            .cte("free")
        )
        return (
            sa.update(schema.work)
            .where(_t.run == run, _t.kind == kind, _t.item.in_(sa.select(free.c.item)))
            .values(
                state=CLAIMED,
                owner=sa.bindparam("owner_", type_=sa.String),
                until=self._now + LEASE_S,
                fence=_t.fence + 1,
                tries=_t.tries + 1,
            )
            .returning(_t.item, _t.position, _t.fence, _t.tries)
        )

    def _lasts(self, until: sa.Column[float]) -> sa.ColumnElement[bool]:
        """Whether a lease that ends then has not ended yet."""
        return (until >= self._now) & (until <= self._now + LEASE_S + _CLOCK_STEP_S)

    async def renew(self, claims: Sequence[Claim]) -> set[str]:
        """Hold claims of one place for ``LEASE_S`` more; returns the items of those that are still held."""
        if not claims:
            return set()
        values = {"until": self._now + LEASE_S}
        return await self._database.transact(lambda c: self._change_claims(c, claims, values))

    async def claim_failed(self, claim: Claim, owner: str) -> Claim | None:
        """Claim a piece again that ended as ``FAILED``; None where it was opened again meanwhile."""
        values = {
            "state": CLAIMED,
            "is_left": 1,
            "owner": owner,
            "until": self._now + LEASE_S,
            "fence": _t.fence + 1,
        }
        rows = [(claim.item, claim.fence, "")]
        mine = await self._database.transact(
            lambda c: self._change(c, claim.place, rows, values, _t.state == FAILED)
        )
        return replace(claim, fence=claim.fence + 1) if mine else None

    async def give_back(self, claims: Sequence[Claim]) -> None:
        """Let others do pieces of one place that were not begun, or not ended; that is no try."""
        if not claims:
            return
        values = {"state": OPEN, "owner": "", "until": 0.0, "tries": _t.tries - 1}
        await self._database.transact(lambda c: self._change_claims(c, claims, values))

    async def end(self, ended: Sequence[EndedClaim]) -> set[str]:
        """End claims of one place without a result; returns the items of those that were still held."""
        return await self._database.transact(lambda c: self.end_within(c, ended))

    def end_within(self, connection: sa.Connection, ended: Sequence[EndedClaim]) -> set[str]:
        """As ``end``, within the caller's transaction: a result belongs into it if its item is returned."""
        if not ended:
            return set()
        values = {"state": self._rows.c.state, "is_left": 0}
        rows = [(one.claim.item, one.claim.fence, one.state) for one in ended]
        return self._change(connection, ended[0].claim.place, rows, values, _t.state == CLAIMED)

    async def is_done_since(self, place: WorkPlace, item: str, moment: float) -> bool:
        """Whether a piece has ended that was claimed, or renewed, after a moment by the clock of the database."""
        async with self._database.reading() as connection:
            where = _t.run == place.run, _t.kind == place.kind, _t.item == item, _t.is_left == 0
            until = await connection.scalar(sa.select(_t.until).where(*where))
        return until is not None and until - LEASE_S >= moment

    async def left(self, place: WorkPlace) -> set[str]:
        """The pieces that are open or claimed."""
        async with self._database.reading() as connection:
            where = _t.run == place.run, _t.kind == place.kind, _t.is_left == 1
            return set(await connection.scalars(sa.select(_t.item).where(*where)))

    async def close(self, place: WorkPlace, items: Iterable[str]) -> None:
        """End open pieces that the log turns out to have results for."""

        def close(connection: sa.Connection) -> None:
            for chunk in _chunks(list(items)):
                rows = [(item, 0, DONE) for item in chunk]
                values = {"state": DONE, "is_left": 0}
                self._change(connection, place, rows, values, _t.state == OPEN, any_fence=True)

        await self._database.transact(close)

    async def free_those_of(self, owners: Sequence[str], place: WorkPlace) -> None:
        """Let others do what processes held that are gone; each piece that they had begun counts as a try."""
        mine = (
            _t.run == place.run,
            _t.kind == place.kind,
            _t.is_left == 1,
            _t.state == CLAIMED,
            _t.owner.in_(owners),
        )
        freed = schema.work.update().where(*mine).values(state=OPEN, owner="", until=0.0)
        gone = schema.workers.delete().where(_w.owner.in_(owners))
        await self._database.transact(lambda c: (c.execute(freed), c.execute(gone)))

    def _change_claims(
        self, connection: sa.Connection, claims: Sequence[Claim], values: Mapping[str, Any]
    ) -> set[str]:
        rows = [(claim.item, claim.fence, "") for claim in claims]
        return self._change(connection, claims[0].place, rows, values, _t.state == CLAIMED)

    def _change(
        self,
        connection: sa.Connection,
        place: WorkPlace,
        rows: Sequence[tuple[str, int, str]],
        values: Mapping[str, Any],
        where: sa.ColumnElement[bool],
        *,
        any_fence: bool = False,
    ) -> set[str]:
        """Change pieces, given as item, fence and new state, that have that fence still; returns their items."""
        given = self._rows
        statement = (
            sa.update(schema.work)
            .where(_t.run == place.run, _t.kind == place.kind, _t.item == given.c.item, where)
            .values(values)
            .returning(_t.item)
        )
        if not any_fence:
            statement = statement.where(_t.fence == given.c.fence)
        return set(connection.scalars(statement, {"rows": orjson.dumps(rows).decode()}))

    # Workers

    async def register(self, place: WorkPlace, part: str, owner: str, slots: int) -> list[WorkerRow]:
        """Say that this process does work of a place, and that it goes on; returns all processes that do work of it."""
        row = {
            "owner": owner,
            "run": place.run,
            "kind": place.kind,
            "part": part,
            "machine": socket.gethostname()[:200],
            "pid": os.getpid(),
            "slots": slots,
            "started_at": self._now,
            "until": self._now + LEASE_S,
        }
        insert = schema.workers.insert().values(row)
        long_gone = schema.workers.delete().where(_w.run == place.run, _w.until < self._now - _REMEMBERED_S)
        order = self._database.insert(schema.work_orders)
        order = order.values(run=place.run, kind=place.kind, part=part, mode=GO)
        order = order.on_conflict_do_update(index_elements=[_o.run, _o.kind, _o.part], set_={"mode": GO})
        await self._database.transact(lambda c: [c.execute(one) for one in (insert, long_gone, order)])
        return await self.workers(place)

    async def set_mode(self, place: WorkPlace, part: str, mode: str) -> None:
        """Tell all processes that do a part of the work to go on, to pause, or to end when they did what they began.

        They notice when they renew their claims. A process that begins to do the same sets the mode to ``GO``.
        """
        its = _o.run == place.run, _o.kind == place.kind, _o.part == part
        told = schema.work_orders.update().where(*its).values(mode=mode)
        await self._database.transact(lambda c: c.execute(told))

    async def workers(self, place: WorkPlace | None = None) -> list[WorkerRow]:
        """The processes that do work, of one place or of all, those that began first."""
        statement = sa.select(
            schema.workers,
            self._lasts(_w.until).label("is_alive"),
            (self._now - _w.started_at).label("seconds"),
        )
        if place:
            statement = statement.where(_w.run == place.run, _w.kind == place.kind)
        async with self._database.reading() as connection:
            rows = (await connection.execute(statement.order_by(_w.started_at, _w.owner))).all()
        return [
            WorkerRow(
                *(row.owner, row.run, row.kind, row.part, row.machine, row.pid, row.slots, row.done),
                row.started_at,
                max(0.0, row.seconds),
                bool(row.is_alive),
            )
            for row in rows
        ]

    def alive_within(self, connection: sa.Connection, run: str) -> set[str]:
        """The marks of the processes that do work of a run and are there, within the caller's transaction."""
        owners = connection.scalars(sa.select(_w.owner).where(_w.run == run, self._lasts(_w.until)))
        return {owner for owner in owners if not _is_gone(owner)}

    async def beat(self, owner: str, done: int, place: WorkPlace, part: str, late: int) -> str:
        """Say that a worker is there; ``late`` is how many results were dropped since the last time.

        Returns the mode in which the work is: ``GO``, ``PAUSED`` or ``DRAINED``.
        """
        renewed = (
            schema.workers.update().where(_w.owner == owner).values(until=self._now + LEASE_S, done=done)
        )
        its = _o.run == place.run, _o.kind == place.kind, _o.part == part
        counted = schema.work_orders.update().where(*its).values(late=_o.late + late)

        def beat(connection: sa.Connection) -> str | None:
            connection.execute(renewed)
            if late:
                connection.execute(counted)
            return connection.scalar(sa.select(_o.mode).where(*its))

        return await self._database.transact(beat) or GO

    async def unregister(self, owner: str, place: WorkPlace, part: str, late: int) -> None:
        """Say that a worker has ended; ``late`` as in ``beat``."""
        gone = schema.workers.delete().where(_w.owner == owner)
        its = _o.run == place.run, _o.kind == place.kind, _o.part == part
        counted = schema.work_orders.update().where(*its).values(late=_o.late + late)
        await self._database.transact(lambda c: (c.execute(gone), late and c.execute(counted)))


_ENDED = (DONE, FAILED)


def _chunks(rows: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK))


def _now(*, is_sqlite: bool) -> sa.ColumnElement[float]:
    """Seconds since 1970 by the clock of the database, to the millisecond, as it is when a row is reached."""
    text = (
        "(julianday('now') - 2440587.5) * 86400.0"
        if is_sqlite
        else "extract(epoch from clock_timestamp())::float8"
    )
    return sa.literal_column(f"({text})", sa.Float)


def _rows_given(*, is_sqlite: bool) -> sa.CTE:
    """Items, fences and states that a statement gets as one JSON text, so that its own text is always the same.

    They are read once, as a table of their own: else SQLite reads all pieces of a place, and the text for each of them.
    """
    rows = sa.bindparam("rows", type_=sa.Text)
    if is_sqlite:
        text = (
            "SELECT json_extract(value, '$[0]') AS item, json_extract(value, '$[1]') AS fence,"
            " json_extract(value, '$[2]') AS state FROM json_each(:rows)"
        )
    else:
        text = (
            "SELECT e->>0 AS item, (e->>1)::bigint AS fence, e->>2 AS state"
            " FROM json_array_elements(CAST(:rows AS json)) AS e"
        )
    columns = sa.text(text).bindparams(rows)
    return (
        columns.columns(item=sa.Text, fence=sa.BigInteger, state=sa.String)
        .cte("given")
        .prefix_with("MATERIALIZED")
    )
