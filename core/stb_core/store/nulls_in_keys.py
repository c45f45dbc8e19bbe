"""Makes keys anew of calls that hold a null for an optional parameter, which says that it is not given.

Needed where recordings are older than the rule, and where a document comes after the recordings of its API.
A version keeps its number, so that snapshots show it under its new key. A call that is recorded with the
null and without it keeps the answer without: the other is superseded, and no snapshot shows it any more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from stb_core.store import schema
from stb_core.store.database import bytes_contain
from stb_core.values import (
    NULL_MEMBER,
    ApiDocument,
    ApiRef,
    Fingerprint,
    call_key,
    canonical_without_nulls,
    clock,
    response_element,
)

_NEVER = 0
"""The change that took a version out of force that is in no snapshot."""
_CHUNK = 500


@dataclass(frozen=True)
class MergedCall:
    """A call that was recorded with a null and without it; the answer without is in force."""

    api: ApiRef
    kept: bytes
    """Its arguments without the null."""
    dropped: bytes
    """Its arguments with the null."""
    same_body: bool


@dataclass(frozen=True)
class _NewKey:
    key: str
    arguments: bytes


def renew_keys(connection: sa.Connection, dataset_id: int) -> list[MergedCall]:
    """Make the keys of a dataset's responses and misses anew, within the caller's transaction.

    Nothing is written where no call has a null for an optional parameter.

    Returns:
        The calls that were merged with another recording.
    """
    documents = _Documents(connection, dataset_id)
    merged = _renew_responses(connection, dataset_id, documents)
    _renew_misses(connection, dataset_id, documents)
    return merged


class _Documents:
    """The documents of a dataset's APIs, each read once."""

    def __init__(self, connection: sa.Connection, dataset_id: int) -> None:
        self._connection = connection
        self._dataset_id = dataset_id
        self._known: dict[ApiRef, ApiDocument | None] = {}

    def new_key(self, row: sa.Row[Any]) -> _NewKey | None:
        """The key of a call without its nulls; None if it stays what it is."""
        ref = ApiRef(row.category, row.tool, row.api)
        if ref not in self._known:
            a = schema.apis.c
            wanted = (
                a.dataset_id == self._dataset_id,
                a.category == ref[0],
                a.tool == ref[1],
                a.api == ref[2],
            )
            found = self._connection.scalar(sa.select(a.document).where(*wanted))
            self._known[ref] = None if found is None else ApiDocument.model_validate(found)
        document = self._known[ref]
        if document is None:
            return None
        arguments = canonical_without_nulls(row.arguments, document)
        return None if arguments == row.arguments else _NewKey(call_key(*ref, arguments), arguments)


def _with_nulls(connection: sa.Connection, column: sa.Column[bytes]) -> sa.ColumnElement[bool]:
    return bytes_contain(column, NULL_MEMBER, is_sqlite=connection.dialect.name == "sqlite")


def _renew_responses(connection: sa.Connection, dataset_id: int, documents: _Documents) -> list[MergedCall]:
    d, r = schema.datasets.c, schema.responses.c
    columns: list[sa.Column[Any]] = [
        *(r.id, r.key, r.version, r.category, r.tool, r.api),
        *(r.arguments, r.body, r.provenance, r.superseded_at),
    ]
    statement = sa.select(*columns).where(r.dataset_id == dataset_id, _with_nulls(connection, r.arguments))
    moved: dict[tuple[bytes, str], tuple[_NewKey, list[sa.Row[Any]]]] = {}
    for row in connection.execute(statement.order_by(r.arguments, r.version)):
        if (new := documents.new_key(row)) is not None:
            moved.setdefault((row.arguments, row.key), (new, []))[1].append(row)
    if not moved:
        return []
    locked = sa.select(d.responses_fingerprint, d.responses_count, d.changes).where(d.id == dataset_id)
    state = connection.execute(locked.with_for_update()).one()
    fingerprint, count = Fingerprint(state.responses_fingerprint), state.responses_count
    merged: list[MergedCall] = []
    for new, rows in moved.values():
        there = connection.execute(
            sa.select(*columns).where(r.dataset_id == dataset_id, r.key == new.key)
        ).all()
        ours, theirs = _in_force(rows), _in_force(there)
        _move(connection, dataset_id, new, rows, there)
        if ours is None:
            continue
        fingerprint.remove(response_element(ours.key, ours.provenance, ours.body))
        if theirs is None:
            fingerprint.add(response_element(new.key, ours.provenance, ours.body))
            continue
        count -= 1
        api = ApiRef(ours.category, ours.tool, ours.api)
        merged.append(MergedCall(api, new.arguments, ours.arguments, ours.body == theirs.body))
    connection.execute(
        schema.datasets.update()
        .where(d.id == dataset_id)
        .values(responses_fingerprint=fingerprint.state, responses_count=count, changes=state.changes + 1)
    )
    return merged


def _in_force(rows: Iterable[sa.Row[Any]]) -> sa.Row[Any] | None:
    return next((row for row in rows if row.superseded_at is None), None)


def _move(
    connection: sa.Connection,
    dataset_id: int,
    new: _NewKey,
    rows: Sequence[sa.Row[Any]],
    there: Sequence[sa.Row[Any]],
) -> None:
    """Give versions a new key; they come before those that are there already."""
    r, e = schema.responses, schema.response_events
    last = max(row.version for row in rows)
    for row in sorted(there, key=lambda one: -one.version):
        connection.execute(r.update().where(r.c.id == row.id).values(version=row.version + last))
    for row in rows:
        values: dict[str, Any] = {"key": new.key, "arguments": new.arguments}
        if there and (row.superseded_at is not None or _in_force(there) is not None):
            values |= {
                "superseded_at": row.superseded_at or clock.now(),
                "superseded_in": _NEVER,
                "pinned": 0,
            }
        connection.execute(r.update().where(r.c.id == row.id).values(**values))
    old = rows[0].key
    connection.execute(e.update().where(e.c.dataset_id == dataset_id, e.c.key == old).values(key=new.key))
    m = schema.misses
    connection.execute(
        m.update()
        .where(m.c.dataset_id == dataset_id, m.c.nearest_key == old)
        .values(nearest_key=new.key, nearest_arguments=new.arguments)
    )


def _renew_misses(connection: sa.Connection, dataset_id: int, documents: _Documents) -> None:
    m = schema.misses
    # Named one by one: a migration calls this, when later columns are not there yet.
    columns: list[sa.ColumnElement[Any]] = [
        *(m.c.key, m.c.category, m.c.tool, m.c.api, m.c.arguments),
        *(m.c["count"].label("times"), m.c.first_at, m.c.last_at),
    ]
    statement = sa.select(*columns).where(
        m.c.dataset_id == dataset_id, _with_nulls(connection, m.c.arguments)
    )
    moved: dict[str, list[tuple[_NewKey, sa.Row[Any]]]] = defaultdict(list)
    for row in connection.execute(statement.order_by(m.c.key)).all():
        if (new := documents.new_key(row)) is not None:
            moved[new.key].append((new, row))
    for key, members in moved.items():
        here = (m.c.dataset_id == dataset_id, m.c.key == key)
        there = connection.execute(sa.select(*columns).where(*here)).first()
        all_rows = [row for _, row in members] + ([there] if there is not None else [])
        total = {
            "count": sum(row.times for row in all_rows),
            "first_at": min(row.first_at for row in all_rows),
            "last_at": max(row.last_at for row in all_rows),
        }
        new, first = members[0]
        keep = key if there is not None else first.key
        others = [row.key for row in all_rows if row.key != keep]
        for start in range(0, len(others), _CHUNK):
            connection.execute(
                m.delete().where(m.c.dataset_id == dataset_id, m.c.key.in_(others[start : start + _CHUNK]))
            )
        connection.execute(
            m.update()
            .where(m.c.dataset_id == dataset_id, m.c.key == keep)
            .values(key=key, arguments=new.arguments, **total)
        )
