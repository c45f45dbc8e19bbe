"""Datasets in the store: tool documents, queries and query groups under a name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.errors import NotFoundError, suggest_near
from stb_core.store import schema
from stb_core.store.database import Database
from stb_core.values import ApiDocument, ApiRef, Fingerprint, Query, ToolDocument, clock, group_order


@dataclass(frozen=True)
class Dataset:
    """A dataset's row; ``content_hash`` covers its tools and queries, not its responses.

    ``changes`` counts the times that responses were taken out of force or came in bulk.
    """

    id: int
    name: str
    version: str
    content_hash: str
    responses_hash: str
    responses_count: int
    source: str
    created_at: str
    changes: int = 0


class Datasets:
    """Reads and writes datasets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[Dataset]:
        """All datasets, by name."""
        async with self._database.reading() as connection:
            rows = await connection.execute(sa.select(schema.datasets).order_by(schema.datasets.c.name))
            return [_dataset(row) for row in rows]

    async def get(self, name: str) -> Dataset:
        """One dataset by name.

        Raises:
            NotFoundError: it does not exist; the message lists those that do.
        """
        for dataset in (there := await self.all()):
            if dataset.name == name:
                return dataset
        names = ", ".join(dataset.name for dataset in there)
        raise NotFoundError(
            f"There is no dataset {name!r}.",
            hint=f"{suggest_near(name, [d.name for d in there])}There are: {names}."
            if names
            else "Import one: stb data import PATH --name NAME.",
        )

    async def create(self, name: str, *, source: str = "", version: str = "") -> Dataset:
        """The dataset of that name, made if it is not there."""
        async with self._database.writing() as connection:
            await self.put(connection, name, source=source, version=version)
        return await self.get(name)

    async def put(
        self, connection: AsyncConnection, name: str, *, source: str = "", version: str = ""
    ) -> int:
        """As ``create``, within the caller's transaction; other writers of it wait. Returns its id."""
        await connection.execute(
            self._database.insert(schema.datasets)
            .values(name=name, source=source, version=version, created_at=clock.now())
            .on_conflict_do_nothing()
        )
        statement = sa.select(schema.datasets.c.id).where(schema.datasets.c.name == name).with_for_update()
        found: int = (await connection.execute(statement)).scalar_one()
        return found

    async def remove(self, name: str) -> None:
        """Delete a dataset with all its tools, queries, responses and misses; runs stay."""
        dataset = await self.get(name)
        async with self._database.writing() as connection:
            await connection.execute(schema.datasets.delete().where(schema.datasets.c.id == dataset.id))

    async def put_tools(
        self, connection: AsyncConnection, dataset_id: int, documents: Iterable[ToolDocument]
    ) -> None:
        """Insert or replace tools and their APIs, within the caller's transaction."""
        tool_rows: list[dict[str, Any]] = []
        api_rows: list[dict[str, Any]] = []
        for document in documents:
            place = {"dataset_id": dataset_id, "category": document.category, "tool": document.standard_name}
            tool_rows.append(
                {
                    **place,
                    "name": document.tool_name,
                    "description": document.tool_description,
                    "document": document.model_dump(mode="json", exclude={"api_list"}, exclude_unset=True),
                }
            )
            seen: set[str] = set()
            for position, api in enumerate(document.api_list):
                if api.standard_name in seen:
                    continue
                seen.add(api.standard_name)
                body = api.model_dump(mode="json", exclude_unset=True)
                api_rows.append({**place, "api": api.standard_name, "position": position, "document": body})
        await self._upsert(connection, schema.tools, tool_rows, ("name", "description", "document"))
        await self._forget_apis(connection, tool_rows)
        await self._upsert(connection, schema.apis, api_rows, ("position", "document"))

    async def _forget_apis(self, connection: AsyncConnection, tool_rows: list[dict[str, Any]]) -> None:
        """Delete the APIs of tools that are about to be put again: their new list may be shorter."""
        if not tool_rows:
            return
        a = schema.apis.c
        statement = schema.apis.delete().where(
            a.dataset_id == sa.bindparam("of_dataset"),
            a.category == sa.bindparam("of_category"),
            a.tool == sa.bindparam("of_tool"),
        )
        await connection.execute(
            statement,
            [
                {"of_dataset": r["dataset_id"], "of_category": r["category"], "of_tool": r["tool"]}
                for r in tool_rows
            ],
        )

    async def put_queries(
        self, connection: AsyncConnection, dataset_id: int, queries: Sequence[Query]
    ) -> None:
        """Insert or replace queries, within the caller's transaction; order is kept per group."""
        rows = [
            {
                "dataset_id": dataset_id,
                "group": query.group,
                "query_id": query.query_id,
                "position": position,
                "document": query.model_dump(mode="json"),
            }
            for position, query in enumerate(queries)
        ]
        await self._upsert(connection, schema.queries, rows, ("position", "document"))

    async def _upsert(
        self, connection: AsyncConnection, table: sa.Table, rows: list[dict[str, Any]], changes: Sequence[str]
    ) -> None:
        if not rows:
            return
        insert = self._database.insert(table)
        statement = insert.on_conflict_do_update(
            index_elements=list(table.primary_key.columns),
            set_={name: insert.excluded[name] for name in changes},
        )
        await connection.execute(statement, rows)

    async def set_content_hash(self, connection: AsyncConnection, dataset_id: int, value: str) -> None:
        """Write the hash of tools and queries, within the caller's transaction."""
        await connection.execute(
            schema.datasets.update().where(schema.datasets.c.id == dataset_id).values(content_hash=value)
        )

    async def tools(self, dataset_id: int, *, category: str = "", tool: str = "") -> list[ToolDocument]:
        """Tool documents with their APIs, by category and name."""
        t, a = schema.tools.c, schema.apis.c
        tool_filter = [t.dataset_id == dataset_id]
        api_filter = [a.dataset_id == dataset_id]
        if category:
            tool_filter.append(t.category == category)
            api_filter.append(a.category == category)
        if tool:
            tool_filter.append(t.tool == tool)
            api_filter.append(a.tool == tool)
        async with self._database.reading() as connection:
            tool_rows = (
                await connection.execute(
                    sa.select(schema.tools).where(*tool_filter).order_by(t.category, t.tool)
                )
            ).all()
            api_rows = (
                await connection.execute(sa.select(schema.apis).where(*api_filter).order_by(a.position))
            ).all()
        by_tool: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in api_rows:
            by_tool.setdefault((row.category, row.tool), []).append(row.document)
        return [
            ToolDocument.model_validate(
                {
                    **row.document,
                    "api_list": by_tool.get((row.category, row.tool), []),
                }
            )
            for row in tool_rows
        ]

    async def api(self, dataset_id: int, ref: ApiRef) -> ApiDocument | None:
        """One API's document, or None."""
        a = schema.apis.c
        async with self._database.reading() as connection:
            document = await connection.scalar(
                sa.select(a.document).where(
                    a.dataset_id == dataset_id,
                    a.category == ref.category,
                    a.tool == ref.tool,
                    a.api == ref.api,
                )
            )
        return None if document is None else ApiDocument.model_validate(document)

    async def api_refs(self, dataset_id: int) -> list[ApiRef]:
        """The standard names of all APIs of a dataset, in order."""
        a = schema.apis.c
        async with self._database.reading() as connection:
            rows = await connection.execute(
                sa.select(a.category, a.tool, a.api)
                .where(a.dataset_id == dataset_id)
                .order_by(a.category, a.tool, a.position)
            )
            return [ApiRef(*row) for row in rows]

    async def queries(self, dataset_id: int, groups: Sequence[str] = ()) -> list[Query]:
        """Queries in their order, group by group; all groups when none is named."""
        q = schema.queries.c
        statement = sa.select(q.document).where(q.dataset_id == dataset_id).order_by(q.position, q.query_id)
        if groups:
            statement = statement.where(q.group.in_(groups))
        async with self._database.reading() as connection:
            documents = (await connection.scalars(statement)).all()
        found = [Query.model_validate(document) for document in documents]
        return sorted(found, key=lambda query: group_order(query.group))

    async def queries_with_id(self, dataset_id: int, query_id: str) -> list[Query]:
        """The queries of that id; there may be one in each group."""
        q = schema.queries.c
        statement = sa.select(q.document).where(q.dataset_id == dataset_id, q.query_id == query_id)
        async with self._database.reading() as connection:
            found = [Query.model_validate(document) for document in await connection.scalars(statement)]
        return sorted(found, key=lambda query: group_order(query.group))

    async def query_counts(self) -> dict[str, int]:
        """How many queries each dataset has, by name."""
        d, q = schema.datasets.c, schema.queries.c
        statement = (
            sa.select(d.name, sa.func.count(q.dataset_id).label("n"))
            .select_from(schema.datasets.outerjoin(schema.queries, q.dataset_id == d.id))
            .group_by(d.id, d.name)
        )
        async with self._database.reading() as connection:
            return {row.name: row.n for row in await connection.execute(statement)}

    async def counts(self, dataset_id: int) -> dict[str, int]:
        """How many tools, APIs, queries, responses and misses it holds."""
        found: dict[str, int] = {}
        async with self._database.reading() as connection:
            for name, table in (
                ("tools", schema.tools),
                ("apis", schema.apis),
                ("queries", schema.queries),
                ("misses", schema.misses),
            ):
                count = sa.select(sa.func.count()).select_from(table).where(table.c.dataset_id == dataset_id)
                found[name] = await connection.scalar(count) or 0
            column = schema.datasets.c
            found["responses"] = (
                await connection.scalar(sa.select(column.responses_count).where(column.id == dataset_id)) or 0
            )
        return found


def _dataset(row: sa.Row[Any]) -> Dataset:
    return Dataset(
        id=row.id,
        name=row.name,
        version=row.version,
        content_hash=row.content_hash,
        responses_hash=Fingerprint(row.responses_fingerprint).hash,
        responses_count=row.responses_count,
        changes=row.changes,
        source=row.source,
        created_at=row.created_at,
    )
