"""Looking through the responses of a dataset: streams in the order of keys, searches, sums."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.errors import NotFoundError, suggest_near
from stb_core.store import schema
from stb_core.store.database import bytes_contain
from stb_core.store.datasets import Dataset
from stb_core.store.responses import Response, response_from_row
from stb_core.store.store import Store
from stb_core.values import NULL_MEMBER, Fingerprint, Provenance, Recording

_PAGE = 1_000
_KINDS = {"category": "category", "tool": "tool", "api": "API"}


@dataclass(frozen=True)
class ResponseFilter:
    """Which responses in force are meant; an empty field means all."""

    category: str = ""
    tool: str = ""
    api: str = ""
    provenances: tuple[Provenance, ...] = ()
    text: str = ""
    """Occurs, byte for byte, in the arguments or in the body."""
    since: str = ""
    """Kept at this moment (UTC, ISO 8601) or later."""
    before: str = ""
    """Kept before this moment."""
    pinned: bool = False
    """Only those that are pinned."""


@asynccontextmanager
async def snapshot(store: Store) -> AsyncGenerator[AsyncConnection]:
    """A connection whose reads all see the same state, however long they take."""
    async with store.reading() as connection:
        if not store.is_sqlite:
            await connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


async def stream(connection: AsyncConnection, dataset_id: int) -> AsyncIterator[Recording]:
    """All responses in force, by key; use a ``snapshot`` where others may write."""
    r = schema.responses.c
    text = sa.cast(r.details, sa.Text)
    columns = (r.key, r.category, r.tool, r.api, r.arguments, r.body, r.provenance, text)
    statement = (
        sa.select(*columns)
        .where(r.dataset_id == dataset_id, r.superseded_at.is_(None), r.key > sa.bindparam("last"))
        .order_by(r.key)
        .limit(_PAGE)
    )
    last = ""
    while rows := (await connection.execute(statement, {"last": last})).all():
        for row in rows:
            details = None if row[7] == "null" else row[7]
            yield Recording(row[0], row[1], row[2], row[3], row[4], row[5], row[6], details)
        last = rows[-1].key


async def state(connection: AsyncConnection, dataset_id: int) -> tuple[Fingerprint, int]:
    """The fingerprint and number of all responses in force, as every write has moved them."""
    d = schema.datasets.c
    statement = sa.select(d.responses_fingerprint, d.responses_count).where(d.id == dataset_id)
    row = (await connection.execute(statement)).one()
    return Fingerprint(row.responses_fingerprint), row.responses_count


async def holds_null(store: Store, connection: AsyncConnection, dataset_id: int) -> bool:
    """Whether the arguments of a response in force hold a null."""
    r = schema.responses.c
    here = (
        r.dataset_id == dataset_id,
        r.superseded_at.is_(None),
        bytes_contain(r.arguments, NULL_MEMBER, is_sqlite=store.is_sqlite),
    )
    return await connection.scalar(sa.select(r.id).where(*here).limit(1)) is not None


async def unpinned_keys(connection: AsyncConnection, dataset_id: int) -> list[str]:
    """The keys of all responses in force that may be superseded."""
    r = schema.responses.c
    here = (r.dataset_id == dataset_id, r.superseded_at.is_(None), r.pinned == 0)
    return list(await connection.scalars(sa.select(r.key).where(*here)))


async def keys_like(store: Store, dataset_id: int, prefix: str, *, limit: int) -> list[str]:
    """Keys that begin so, of calls with an answer in force or on record, in order."""
    r = schema.responses.c
    # Keys are hexadecimal digits, so all that begin so lie between it and it with a "g".
    here = (r.dataset_id == dataset_id, r.key >= prefix, r.key < f"{prefix}g")
    async with store.reading() as connection:
        found = await connection.scalars(
            sa.select(r.key).where(*here).distinct().order_by(r.key).limit(limit)
        )
        return list(found)


async def search(
    store: Store, dataset_id: int, wanted: ResponseFilter, *, limit: int = 100, offset: int = 0
) -> list[Response]:
    """Responses in force that fit, by category, tool, API and key."""
    r = schema.responses.c
    statement = (
        sa.select(schema.responses)
        .where(*_conditions(store, dataset_id, wanted))
        .order_by(r.category, r.tool, r.api, r.key)
        .limit(limit)
        .offset(offset)
    )
    async with store.reading() as connection:
        return [response_from_row(row) for row in await connection.execute(statement)]


async def count(store: Store, dataset_id: int, wanted: ResponseFilter) -> int:
    """How many responses in force fit."""
    statement = (
        sa.select(sa.func.count())
        .select_from(schema.responses)
        .where(*_conditions(store, dataset_id, wanted))
    )
    async with store.reading() as connection:
        return await connection.scalar(statement) or 0


async def require_names(store: Store, dataset: Dataset, wanted: ResponseFilter) -> None:
    """Check that responses in force have the category, the tool and the API that are wanted.

    Raises:
        NotFoundError: none has; the message names the first that is missing, and one that is like it.
    """
    r = schema.responses.c
    above = ResponseFilter()
    for kind, column in (("category", r.category), ("tool", r.tool), ("api", r.api)):
        name = getattr(wanted, kind)
        if not name:
            continue
        statement = sa.select(column).where(*_conditions(store, dataset.id, above)).distinct()
        async with store.reading() as connection:
            known = set(await connection.scalars(statement))
        if name not in known:
            within = above.tool or above.category
            raise NotFoundError(
                f"There is no {_KINDS[kind]} {name!r} in {dataset.name}{f', {within}' if within else ''}.",
                hint=suggest_near(name, known) + f"No recorded response has this {_KINDS[kind]}.",
            )
        above = replace(above, **{kind: name})


def _conditions(store: Store, dataset_id: int, wanted: ResponseFilter) -> list[sa.ColumnElement[bool]]:
    r = schema.responses.c
    found: list[sa.ColumnElement[bool]] = [r.dataset_id == dataset_id, r.superseded_at.is_(None)]
    for column, value in ((r.category, wanted.category), (r.tool, wanted.tool), (r.api, wanted.api)):
        if value:
            found.append(column == value)
    if wanted.provenances:
        found.append(r.provenance.in_([provenance.value for provenance in wanted.provenances]))
    if wanted.since:
        found.append(r.created_at >= wanted.since)
    if wanted.before:
        found.append(r.created_at < wanted.before)
    if wanted.pinned:
        found.append(r.pinned == 1)
    if wanted.text:
        found.append(
            sa.or_(
                *(
                    bytes_contain(column, wanted.text.encode(), is_sqlite=store.is_sqlite)
                    for column in (r.arguments, r.body)
                )
            )
        )
    return found


@dataclass(frozen=True)
class Share:
    """Responses in force of one provenance: how many, and the bytes of their bodies and arguments."""

    provenance: Provenance
    count: int
    body_bytes: int
    argument_bytes: int


@dataclass(frozen=True)
class Sums:
    """What a dataset's responses add up to."""

    shares: Sequence[Share]
    superseded: int
    pinned: int
    apis: int
    """APIs with at least one response in force."""
    by_day: Sequence[tuple[str, int]]
    """(day as YYYY-MM-DD, responses first kept on it), the earliest first."""


async def sums(store: Store, dataset_id: int) -> Sums:
    """Counts and sizes over all responses of a dataset."""
    r = schema.responses.c
    here = r.dataset_id == dataset_id
    in_force = sa.and_(here, r.superseded_at.is_(None))
    number = sa.func.count()
    length = sa.func.length if store.is_sqlite else sa.func.octet_length
    day = sa.func.substr(r.created_at, 1, 10)
    apis = sa.select(r.category, r.tool, r.api).where(in_force).distinct().subquery()
    async with snapshot(store) as connection:
        shares = await connection.execute(
            sa.select(r.provenance, number, sa.func.sum(length(r.body)), sa.func.sum(length(r.arguments)))
            .where(in_force)
            .group_by(r.provenance)
            .order_by(number.desc(), r.provenance)
        )
        found = [Share(Provenance(row[0]), *map(int, row[1:])) for row in shares]
        days = await connection.execute(sa.select(day, number).where(here).group_by(day).order_by(day))
        return Sums(
            shares=found,
            by_day=[(row[0], row[1]) for row in days],
            superseded=await _number(connection, here, r.superseded_at.is_not(None)),
            pinned=await _number(connection, in_force, r.pinned == 1),
            apis=await connection.scalar(sa.select(number).select_from(apis)) or 0,
        )


async def _number(connection: AsyncConnection, *conditions: Any) -> int:
    statement = sa.select(sa.func.count()).select_from(schema.responses).where(*conditions)
    return await connection.scalar(statement) or 0
