"""Migrations build exactly the schema that the code declares, and newer stores are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from stb_core.errors import StoreError
from stb_core.store import Store, migrations, open_store, schema
from stb_core.values.manifest import Manifest
from stb_core.values.queries import Query
from virtual_server import put_weather, recorded

BONN = recorded({"city": "Bonn"})


async def test_migrations_build_the_declared_schema(unmigrated_url: str) -> None:
    """A store brought up from nothing has the tables of ``stb_core.store.schema``, no more and no less."""
    store = await open_store(unmigrated_url)
    async with store.reading() as connection:
        differences = await connection.run_sync(
            lambda c: compare_metadata(MigrationContext.configure(c), schema.metadata)
        )
    await store.close()

    assert [] == differences


def test_the_head_is_the_last_script() -> None:
    """The version that the program asks for is the newest that it ships."""
    assert migrations.HEAD == ScriptDirectory(migrations.__path__[0]).get_current_head()


async def test_a_store_of_the_first_version_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what it holds, and then it can do what the newest can."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    monkeypatch.setattr(migrations, "HEAD", "0001")
    old = await open_store(url)
    dataset = await put_weather(old, BONN)
    await old.close()
    monkeypatch.undo()

    store = await open_store(url)
    await store.curation.note(dataset.id, BONN.key, "old")

    assert migrations.HEAD == await migrations.current(store)
    assert await store.responses.get(dataset.id, BONN.key)
    assert {BONN.key: "old"} == await store.curation.notes(dataset.id, [BONN.key])
    await store.close()


async def test_a_store_without_queries_of_runs_gets_them(store: Store, store_url: str) -> None:
    """Its runs stay, and can keep queries then."""
    await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {"G": ["1"]})
    async with store.writing() as connection:
        await connection.run_sync(schema.run_queries.drop)
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '0003'"))

    newer = await open_store(store_url)
    await newer.runs.put_queries("r", [Query(query_id="1", group="G", text="?", apis=())])

    assert ["1"] == [query.query_id for query in await newer.runs.queries("r")]
    await newer.close()


async def test_a_store_of_a_newer_version_is_refused(store: Store, store_url: str) -> None:
    """It is left as it is, and the error says to upgrade."""
    async with store.writing() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(StoreError, match="has schema 9999, which this version does not know"):
        await open_store(store_url)
