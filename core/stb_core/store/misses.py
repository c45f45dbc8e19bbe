"""The miss ledger: calls that nothing could answer, how often, and the nearest recorded neighbour."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.store import schema
from stb_core.store.database import Database
from stb_core.values import clock

MAX_MISSES = 100_000
"""Different calls that the ledger holds of one dataset; whoever may call could fill the disk otherwise."""
_WHOLE_BYTES = 4096
_FIRST_BYTES = 1024
_KEYS_AT_ONCE = 500
_NO_QUOTAS: Mapping[str, int] = MappingProxyType({})


def bounded_arguments(arguments: bytes) -> bytes:
    """Arguments as the ledger keeps them: of very long ones the first kilobyte, as an object that says so."""
    if len(arguments) <= _WHOLE_BYTES:
        return arguments
    first = arguments[:_FIRST_BYTES].decode(errors="ignore")
    return json.dumps(
        {f"first {_FIRST_BYTES:,} of {len(arguments):,} bytes": first}, ensure_ascii=False
    ).encode()


@dataclass(frozen=True)
class Miss:
    """One missed call; ``nearest_similarity`` in [0, 1], None when the API has no recording."""

    key: str
    category: str
    tool: str
    api: str
    arguments: bytes
    nearest_key: str | None = None
    nearest_arguments: bytes | None = None
    nearest_similarity: float | None = None
    count: int = 1
    first_at: str = ""
    last_at: str = ""
    client: str = ""
    """The name of the client that made this call first; "" if it has none."""


@dataclass(frozen=True)
class LeftOut:
    """New calls that the ledger did not take."""

    lost: int = 0
    """Because it is full."""
    over_quota: Mapping[str, int] = field(default_factory=dict)
    """Because their client has brought as many as it may, by its name."""


class Misses:
    """Reads and writes the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(
        self, dataset_id: int, misses: Sequence[Miss], quotas: Mapping[str, int] = _NO_QUOTAS
    ) -> LeftOut:
        """Count misses, in one transaction; a call missed before is counted up.

        Args:
            dataset_id: the dataset.
            misses: the calls, each once; if there is not enough room, the first are taken.
            quotas: how many different calls the ledger of a dataset takes from a client, by its name.
        """
        m = schema.misses
        insert = self._database.insert(m)
        stamp = clock.now()
        statement = insert.on_conflict_do_update(
            index_elements=[m.c.dataset_id, m.c.key],
            set_={
                "count": m.c.count + insert.excluded["count"],
                "last_at": insert.excluded.last_at,
                "nearest_key": insert.excluded.nearest_key,
                "nearest_arguments": insert.excluded.nearest_arguments,
                "nearest_similarity": insert.excluded.nearest_similarity,
            },
        )
        rows = [
            {
                "dataset_id": dataset_id,
                "key": miss.key,
                "category": miss.category,
                "tool": miss.tool,
                "api": miss.api,
                "arguments": bounded_arguments(miss.arguments),
                "nearest_key": miss.nearest_key,
                "nearest_arguments": miss.nearest_arguments and bounded_arguments(miss.nearest_arguments),
                "nearest_similarity": miss.nearest_similarity,
                "count": miss.count,
                "first_at": stamp,
                "last_at": stamp,
                "client": miss.client,
            }
            for miss in misses
        ]
        if not rows:
            return LeftOut()
        async with self._database.writing() as connection:
            of_dataset = m.c.dataset_id == dataset_id
            held = await connection.scalar(sa.select(sa.func.count()).where(of_dataset)) or 0
            bounded = {miss.client for miss in misses} & quotas.keys()
            kept, over_quota, lost = rows, Counter[str](), 0
            if bounded or held + len(rows) > MAX_MISSES:
                known = await self._known(connection, dataset_id, [miss.key for miss in misses])
                brought = await self._brought(connection, dataset_id, bounded)
                kept = [row for miss, row in zip(misses, rows, strict=True) if miss.key in known]
                for miss, row in zip(misses, rows, strict=True):
                    if miss.key in known:
                        continue
                    if miss.client in bounded and brought[miss.client] >= quotas[miss.client]:
                        over_quota[miss.client] += 1
                    elif held >= MAX_MISSES:
                        lost += 1
                    else:
                        kept.append(row)
                        brought[miss.client] += 1
                        held += 1
            if kept:
                await connection.execute(statement, kept)
        return LeftOut(lost, over_quota)

    @staticmethod
    async def _known(connection: AsyncConnection, dataset_id: int, keys: Sequence[str]) -> set[str]:
        """Those of the keys that the ledger has."""
        m, known = schema.misses.c, set[str]()
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = m.key.in_(keys[start : start + _KEYS_AT_ONCE])
            known |= set(await connection.scalars(sa.select(m.key).where(m.dataset_id == dataset_id, some)))
        return known

    @staticmethod
    async def _brought(connection: AsyncConnection, dataset_id: int, names: Iterable[str]) -> Counter[str]:
        """How many calls of the ledger each of the clients brought."""
        m = schema.misses.c
        of_them = sa.select(m.client, sa.func.count()).where(m.dataset_id == dataset_id, m.client.in_(names))
        rows = await connection.execute(of_them.group_by(m.client))
        return Counter({str(name): int(count) for name, count in rows})

    async def most_frequent(self, dataset_id: int, *, limit: int = 100, offset: int = 0) -> list[Miss]:
        """Misses of a dataset, the most frequent first."""
        m = schema.misses
        async with self._database.reading() as connection:
            rows = await connection.execute(
                sa.select(m)
                .where(m.c.dataset_id == dataset_id)
                .order_by(m.c.count.desc(), m.c.key)
                .limit(limit)
                .offset(offset)
            )
            return [
                Miss(**{name: value for name, value in row._mapping.items() if name != "dataset_id"})  # noqa: SLF001 - SQLAlchemy's public name
                for row in rows
            ]

    async def totals(self, dataset_id: int) -> tuple[int, int]:
        """How many calls were missed, and how many times in all."""
        m = schema.misses.c
        statement = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(m.count), 0))
        async with self._database.reading() as connection:
            row = (await connection.execute(statement.where(m.dataset_id == dataset_id))).one()
            return int(row[0]), int(row[1])
