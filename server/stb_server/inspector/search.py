"""Searches responses: by names through the index, by text in a limited scan.

One page examines at most ``MAX_EXAMINED`` responses, so that it takes as long with a million as with ten
thousand. It ends with a full page, or with the place from which to continue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.store import Store, schema
from stb_core.values import ApiRef, Provenance
from stb_server.inspector.response_counts import ApiCount, ResponseCounts

PAGE = 50
MAX_EXAMINED = 10_000
_MAX_SEGMENTS = 100
_FIRST_WINDOW = 250
_PREVIEW = 400

Segment = tuple[ApiRef, ApiRef]


@dataclass(frozen=True)
class ResponseSearch:
    """Search terms; empty fields match all. The fields are the names in a page's address."""

    category: str = ""
    tool: str = ""
    api: str = ""
    name: str = ""
    """Words; all must occur in the names of category, tool and API."""
    arguments: str = ""
    """Text in the arguments, as canonical JSON."""
    text: str = ""
    """Text in the body, byte for byte."""
    provenance: str = ""
    since: str = ""
    """Recorded on this day (YYYY-MM-DD) or later."""
    before: str = ""
    """Recorded before this day."""

    @classmethod
    def read(cls, query: Any) -> ResponseSearch:
        """Read the terms from the query of an address."""
        terms = {
            field.name: str(query.get(field.name, "")).replace("\x00", "").strip() for field in fields(cls)
        }
        if terms["provenance"] not in set(Provenance):
            terms["provenance"] = ""
        return cls(**terms)

    def query(self, **changes: str) -> dict[str, str]:
        """The query of an address for this search, with changes."""
        terms = {field.name: getattr(self, field.name) for field in fields(self)} | changes
        return {name: value for name, value in terms.items() if value}

    @property
    def is_empty(self) -> bool:
        """Whether the search matches all responses."""
        return not self.query()

    def fits_api(self, api: ApiCount) -> bool:
        """Whether an API may have matches, by its names and provenances."""
        if self.provenance and not api.counts.get(self.provenance):
            return False
        names = " ".join(api.ref).lower()
        return all(word in names for word in self.name.lower().split())


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A response in a list, with the beginning of its arguments and body."""

    id: int
    key: str
    ref: ApiRef
    arguments: bytes
    body: bytes
    body_bytes: int
    provenance: str
    created_at: str
    pinned: bool


@dataclass(frozen=True)
class SearchPage:
    """A page of results; ``after`` is where to continue, 0 at the end."""

    hits: list[SearchHit]
    examined: int
    after: int

    @property
    def is_partial(self) -> bool:
        """Whether the scan stopped before the page was full and before the end."""
        return bool(self.after) and len(self.hits) < PAGE


async def search(
    store: Store, dataset_id: int, terms: ResponseSearch, tally: ResponseCounts | None, *, after: int = 0
) -> SearchPage:
    """The next page of matching responses in force, by category, tool, API and age."""
    async with store.reading() as connection:
        scan = _Scan(store, connection, dataset_id, terms, tally)
        return await scan.run(after)


async def find_keys(store: Store, dataset_id: int, beginning: str) -> list[str]:
    """Keys of responses in force with this prefix, at most one page."""
    r = schema.responses.c
    statement = (
        sa.select(r.key)
        .where(r.dataset_id == dataset_id, r.superseded_at.is_(None))
        # Keys are hexadecimal, so all with this prefix lie between it and it followed by "g".
        .where(r.key >= beginning, r.key < f"{beginning}g")
        .order_by(r.key)
        .limit(PAGE)
    )
    async with store.reading() as connection:
        return list(await connection.scalars(statement))


async def find_neighbours(store: Store, dataset_id: int, ref: ApiRef, limit: int) -> list[SearchHit]:
    """Responses in force of one API, the oldest first."""
    results = await search(store, dataset_id, ResponseSearch(*ref), None)
    return results.hits[:limit]


class _Scan:
    """The scan for one page, along the index of (category, tool, API)."""

    def __init__(
        self,
        store: Store,
        connection: AsyncConnection,
        dataset_id: int,
        terms: ResponseSearch,
        tally: ResponseCounts | None,
    ) -> None:
        self._store = store
        self._connection = connection
        self._dataset_id = dataset_id
        self._terms = terms
        self._narrows = bool(tally and (terms.name or terms.provenance))
        self._segments: Sequence[Segment | None] = (
            tally.select(self._fits) if tally and self._narrows else [None]
        )
        self._hits: list[SearchHit] = []
        self._examined = 0
        self._last = 0

    def _fits(self, api: ApiCount) -> bool:
        terms = self._terms
        pairs = zip(api.ref, (terms.category, terms.tool, terms.api), strict=True)
        return all(not name or name == name_of_api for name_of_api, name in pairs) and terms.fits_api(api)

    async def run(self, after: int) -> SearchPage:
        r = schema.responses.c
        places: list[tuple[Segment | None, list[sa.ColumnElement[bool]]]] = []
        start = await self._place(after) if after else None
        if start:
            rest = [r.category == start.category, r.tool == start.tool, r.api == start.api, r.id > after]
            places.append((None, rest))
        beyond = [sa.tuple_(r.category, r.tool, r.api) > start] if start else []
        places += [(segment, beyond) for segment in self._segments]
        for number, (segment, conditions) in enumerate(places):
            is_open = await self._walk([*conditions, *_within(segment)])
            if is_open or (number >= _MAX_SEGMENTS and number + 1 < len(places) and self._last):
                return SearchPage(self._hits, self._examined, self._last)
        return SearchPage(self._hits, self._examined, 0)

    async def _place(self, after: int) -> ApiRef | None:
        r = schema.responses.c
        names = sa.select(r.category, r.tool, r.api).where(r.id == after, r.dataset_id == self._dataset_id)
        row = (await self._connection.execute(names)).first()
        return ApiRef(*row) if row else None

    async def _walk(self, conditions: list[sa.ColumnElement[bool]]) -> bool:
        """Scan one part of the index; returns whether it may hold more than was examined."""
        fits = self._conditions()
        last: tuple[str, str, str, int] | None = None
        window = _FIRST_WINDOW if fits else PAGE + 1
        while True:
            window = min(window, MAX_EXAMINED - self._examined)
            if window <= 0:
                return True
            where = conditions if last is None else [*conditions, _beyond(last)]
            rows = (await self._connection.execute(self._statement(where, fits, window))).all()
            for row in rows:
                if row.fits:
                    if len(self._hits) == PAGE:
                        return True
                    self._hits.append(_hit(row))
                self._examined += 1
                self._last = row.id
            if len(rows) < window:
                return False
            last = rows[-1].category, rows[-1].tool, rows[-1].api, rows[-1].id
            window *= 4

    def _statement(
        self, where: list[sa.ColumnElement[bool]], fits: list[sa.ColumnElement[bool]], limit: int
    ) -> sa.Select[Any]:
        r = schema.responses.c
        is_match = sa.and_(*fits) if fits else sa.true()
        length = sa.func.length if self._store.is_sqlite else sa.func.octet_length
        arguments, body = (
            sa.case((is_match, sa.func.substr(column, 1, _PREVIEW)), else_=None)
            for column in (r.arguments, r.body)
        )
        terms = self._terms
        exact = [
            column == value
            for column, value in ((r.category, terms.category), (r.tool, terms.tool), (r.api, terms.api))
            if value
        ]
        return (
            sa.select(
                *(r.id, r.key, r.category, r.tool, r.api, r.provenance, r.created_at, r.pinned),
                sa.case((is_match, 1), else_=0).label("fits"),
                sa.type_coerce(arguments, sa.LargeBinary).label("arguments"),
                sa.type_coerce(body, sa.LargeBinary).label("body"),
                sa.case((is_match, length(r.body)), else_=0).label("body_bytes"),
            )
            .where(r.dataset_id == self._dataset_id, r.superseded_at.is_(None), *exact, *where)
            .order_by(r.category, r.tool, r.api, r.id)
            .limit(limit)
        )

    def _conditions(self) -> list[sa.ColumnElement[bool]]:
        """The conditions that no index covers."""
        r, terms = schema.responses.c, self._terms
        conditions: list[sa.ColumnElement[bool]] = []
        if terms.provenance:
            conditions.append(r.provenance == terms.provenance)
        if not self._narrows:
            names = sa.func.lower(r.category + " " + r.tool + " " + r.api)
            conditions += [names.contains(word, autoescape=True) for word in terms.name.lower().split()]
        if terms.since:
            conditions.append(r.created_at >= terms.since)
        if terms.before:
            conditions.append(r.created_at < terms.before)
        pairs = ((r.arguments, terms.arguments), (r.body, terms.text))
        return conditions + [self._contains(column, text) for column, text in pairs if text]

    def _contains(self, column: sa.Column[bytes], text: str) -> sa.ColumnElement[bool]:
        needle = sa.literal(text.encode(errors="replace"), sa.LargeBinary)
        if self._store.is_sqlite:
            return sa.func.instr(column, needle) > 0
        return sa.func.position(needle.op("IN")(column)) > 0


def _within(segment: Segment | None) -> list[sa.ColumnElement[bool]]:
    if segment is None:
        return []
    r = schema.responses.c
    first, last = segment
    if first == last:
        return [r.category == first.category, r.tool == first.tool, r.api == first.api]
    names = sa.tuple_(r.category, r.tool, r.api)
    return [names >= first, names <= last]


def _beyond(last: tuple[str, str, str, int]) -> sa.ColumnElement[bool]:
    r = schema.responses.c
    return sa.tuple_(r.category, r.tool, r.api, r.id) > last


def _hit(row: Any) -> SearchHit:
    return SearchHit(
        id=row.id,
        key=row.key,
        ref=ApiRef(row.category, row.tool, row.api),
        arguments=row.arguments,
        body=row.body,
        body_bytes=row.body_bytes,
        provenance=row.provenance,
        created_at=row.created_at,
        pinned=bool(row.pinned),
    )
