"""A back-up is the store as of one moment; what is restored is the same, or nothing changed."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from stb_core.errors import ConflictError, FormatError, NotFoundError, StoreError
from stb_core.store import Store, backups, migrations, open_store, schema
from stb_core.store.table_copy import last_ids, sums, sums_of_file
from stb_core.values import clock
from stb_core.values.manifest import Manifest
from stb_core.values.queries import Query
from virtual_server import put_weather, recorded

BONN, ROME = recorded({"city": "Bonn"}), recorded({"city": "Rome", "emoji": "🌧", "n": 0.1})


@pytest.fixture
async def filled(store: Store) -> Store:
    """A store, on each database, with versions, a snapshot, a note, a run's query, and a number given to what is gone."""
    dataset = await put_weather(store, BONN, ROME)
    await store.responses.keep(
        dataset.id, [recorded({"city": "Bonn"}, b'{"error":"","response":"rain"}')], supersede=True
    )
    gone = recorded({"city": "Atlantis"})
    await store.responses.keep(dataset.id, [gone])
    await store.snapshots.take(dataset.id)
    await store.curation.delete(dataset.id, gone.key, "sunk", erase=True)
    await store.curation.note(dataset.id, ROME.key, 'Ελλάδα "quoted"')
    await store.runs.create("r", Manifest(dataset="weather", dataset_hash="", agent="a"), {"G": ["1"]})
    await store.runs.put_queries("r", [Query(query_id="1", group="G", text='Ελλάδα "quoted"', apis=())])
    return store


@pytest.fixture(params=["sqlite", "postgresql"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of another empty store, on each database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'elsewhere.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


async def test_what_is_restored_is_the_same(
    filled: Store, store_url: str, elsewhere: str, tmp_path: Path
) -> None:
    """From either database to either: every row of every table, and numbering goes on after what was given."""
    if elsewhere == store_url:
        elsewhere = f"{store_url.rpartition('/')[0]}/{(await _another_database(filled))}"
    made = await backups.back_up(store_url, tmp_path / "b.db")

    restored = await backups.restore(tmp_path / "b.db", elsewhere)

    target = await open_store(elsewhere)
    async with filled.reading() as before, target.reading() as after:
        assert await sums(before) == await sums(after) == dict(made.tables) == dict(restored.tables)
        assert (await last_ids(before))["responses"] == (await last_ids(after))["responses"]
    dataset = await target.datasets.get("weather")
    [kept] = await target.responses.keep(dataset.id, [recorded({"city": "Oslo"})])
    async with target.reading() as connection:
        numbers = list(
            await connection.scalars(sa.select(schema.responses.c.id).order_by(schema.responses.c.id))
        )
    assert kept.is_new
    assert [1, 2, 3, 5] == numbers, "4 was given to what is gone, and a snapshot may know it"
    await target.close()


async def _another_database(store: Store) -> str:
    async with store.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(sa.text("CREATE DATABASE another"))
    return "another"


async def test_a_backup_is_a_store(filled: Store, store_url: str, tmp_path: Path) -> None:
    """It opens like one, in one file."""
    await backups.back_up(store_url, tmp_path / "b.db")

    assert {"b.db"} == {name for name in os.listdir(tmp_path) if "b.db" in name}  # noqa: PTH208
    store = await open_store(f"sqlite:///{tmp_path / 'b.db'}")
    assert await store.responses.get((await store.datasets.get("weather")).id, ROME.key)
    await store.close()


async def test_it_is_made_while_others_write(filled: Store, store_url: str, tmp_path: Path) -> None:
    """Every back-up that is made meanwhile is whole, and is a state that the store was in."""
    dataset = await filled.datasets.get("weather")
    wrote = 0

    async def write() -> None:
        nonlocal wrote
        while True:
            await filled.responses.keep(dataset.id, [recorded({"n": wrote})])
            wrote += 1

    writing = asyncio.create_task(write())
    for number in range(3):
        before = wrote
        made = await backups.back_up(store_url, tmp_path / f"{number}.db")
        assert before <= made.tables["responses"].rows - 3 <= wrote + 1
        await backups.verify(tmp_path / f"{number}.db")
        copy = await open_store(f"sqlite:///{tmp_path / f'{number}.db'}")
        there = await copy.datasets.get("weather")
        assert there.responses_count == made.tables["responses"].rows - 1, "one is superseded"
        await copy.close()
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)


async def test_a_store_that_is_not_empty_stays_as_it_is(
    sqlite_store: Store, sqlite_store_url: str, tmp_path: Path
) -> None:
    """It is refused, and says how to name another."""
    await put_weather(sqlite_store, BONN)
    await backups.back_up(sqlite_store_url, tmp_path / "b.db")
    await sqlite_store.responses.keep((await sqlite_store.datasets.get("weather")).id, [ROME])

    with pytest.raises(ConflictError, match="is not empty"):
        await backups.restore(tmp_path / "b.db", sqlite_store_url)

    assert 2 == (await sqlite_store.datasets.get("weather")).responses_count


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE responses SET body = x'7b7d'",
        "DELETE FROM response_events",
        "INSERT INTO misses SELECT 1, 'k', 'c', 't', 'a', x'', 1, '', '', NULL, NULL, NULL, ''",
        "DROP TABLE tools",
    ],
)
async def test_a_damaged_backup_is_noticed(
    damage: str, sqlite_store: Store, sqlite_store_url: str, tmp_path: Path
) -> None:
    """A row that changed, is gone or is new: the table is named, and nothing is restored."""
    dataset = await put_weather(sqlite_store, BONN)
    await sqlite_store.curation.note(dataset.id, BONN.key, "a note")
    await backups.back_up(sqlite_store_url, tmp_path / "b.db")
    with closing(sqlite3.connect(tmp_path / "b.db")) as file, file:
        file.execute(damage)

    with pytest.raises(
        FormatError, match=f"is damaged.*{damage.split()[2 if damage[:6] != 'UPDATE' else 1]}"
    ):
        await backups.restore(tmp_path / "b.db", f"sqlite:///{tmp_path / 'new.db'}")

    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize("what", ["index", "page"])
async def test_a_damaged_store_is_named_and_not_copied(
    what: str, sqlite_store: Store, sqlite_store_url: str, tmp_path: Path
) -> None:
    """Also where every table can still be read: the store is the cause, not the disk of the back-up."""
    dataset = await put_weather(sqlite_store, *(recorded({"n": n}) for n in range(300)))
    assert dataset
    await sqlite_store.close()
    place = tmp_path / "store.db"
    with closing(sqlite3.connect(place)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = file.execute("PRAGMA page_size").fetchone()[0]
        name = (
            "responses"
            if what == "page"
            else file.execute(
                "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'responses' AND rootpage > 0"
            ).fetchone()[0]
        )
        [(root,)] = file.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,))
    data = bytearray(place.read_bytes())
    start = (root - 1) * size + (0 if what == "page" else size - 64)
    data[start : start + 64] = b"\xff" * 64
    place.write_bytes(data)

    with pytest.raises(StoreError, match=r"store\.db is damaged \(.+\), and no back-up was made"):
        await backups.back_up(sqlite_store_url, tmp_path / "b.db")

    assert not (tmp_path / "b.db").exists()


async def test_what_is_no_backup(tmp_path: Path, sqlite_store: Store, sqlite_store_url: str) -> None:
    """A missing file, another file, a plain store, and a file that is in the way: each says so."""
    (tmp_path / "text").write_text("hello")

    with pytest.raises(NotFoundError, match="There is no back-up"):
        await backups.verify(tmp_path / "missing.db")
    for path in (tmp_path / "text", tmp_path / "store.db"):
        with pytest.raises(FormatError, match="is not a back-up"):
            await backups.verify(path)
    with pytest.raises(ConflictError, match="exists already"):
        await backups.back_up(sqlite_store_url, tmp_path / "text")
    with pytest.raises(StoreError, match="cannot be created"):
        await backups.back_up(sqlite_store_url, tmp_path / "text" / "b.db")


async def test_an_older_backup_is_brought_up_to_date(old_store: Path, elsewhere: str) -> None:
    """One that was made with the first schema is verified as it was, and restored into the newest."""
    with closing(sqlite3.connect(old_store)) as file:
        tables = file.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        columns = {
            table: [row[1] for row in file.execute(f"PRAGMA table_info({table})")]
            for (table,) in tables
            if table not in {"alembic_version", "leases", "sqlite_sequence"}
        }
        numbers = dict(file.execute("SELECT name, seq FROM sqlite_sequence"))
    then = sums_of_file(old_store, columns)
    made = backups.BackupManifest(backups.FORMAT, clock.now(), "0.1.0.dev0", "0001", then, numbers)
    backups._finish(old_store, made)

    await backups.restore(old_store, elsewhere)

    store = await open_store(elsewhere)
    assert migrations.HEAD == await migrations.current(store)
    assert 181 == (await store.datasets.get("demo")).responses_count
    assert made == backups.read_manifest(old_store)
    await store.close()
