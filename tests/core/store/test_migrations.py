"""Migrations build exactly the schema that the code declares, and newer stores are refused."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.errors import StoreError
from stb_core.store import Store, migrations, open_store, schema
from stb_core.values.manifest import Manifest
from stb_core.values.queries import Query
from stb_core.values.verdicts import Verdict
from virtual_server import put_weather

# What it takes to be killed in the middle of an upgrade, by the name of the step.
KILLED = """
import asyncio, os, signal, sys
from stb_core.store import migrations, open_store
step = getattr(migrations, sys.argv[1])
def killed(*args):
    step(*args)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(migrations, sys.argv[1], killed)
asyncio.run(open_store(sys.argv[2]))
"""


def contents(file: Path) -> dict[str, list[tuple[object, ...]]]:
    """All rows by table."""
    with closing(sqlite3.connect(file)) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
        ).fetchall()
        return {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in tables}


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


async def test_a_store_of_the_first_version_is_brought_up_to_date(old_store: Path) -> None:
    """With what it holds, and then it can do what the newest can."""
    assert "0001" == contents(old_store)["alembic_version"][0][0]

    store = await open_store(f"sqlite:///{old_store}")
    (dataset,) = await store.datasets.all()
    (ref, *_) = await store.responses.api_refs(dataset.id)
    (response, *_) = await store.responses.of_api(dataset.id, *ref)
    await store.curation.note(dataset.id, response.key, "old")

    assert migrations.HEAD == await migrations.current(store)
    assert 181 == dataset.responses_count
    assert {response.key: "old"} == await store.curation.notes(dataset.id, [response.key])
    await store.close()


async def test_a_store_without_queries_of_runs_gets_them(store: Store, store_url: str) -> None:
    """Its runs stay, and can keep queries then."""
    await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {"G": ["1"]})
    async with store.writing() as connection:
        await connection.run_sync(schema.run_queries.drop)
        await connection.execute(sa.text("ALTER TABLE datasets DROP COLUMN key_scheme"))
        await drop_sources(connection)
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '0003'"))

    newer = await open_store(store_url)
    await newer.runs.put_queries("r", [Query(query_id="1", group="G", text="?", apis=())])

    assert ["1"] == [query.query_id for query in await newer.runs.queries("r")]
    await newer.close()


async def drop_sources(connection: AsyncConnection) -> None:
    """Take away claims and what says where verdicts and misses came from, as before schema 0006."""
    for table in ("work", "workers", "work_orders", "cost_shares"):
        await connection.execute(sa.text(f"DROP TABLE {table}"))
    await connection.execute(sa.text("DROP INDEX ix_verdicts_readable"))
    for column in ("source", "is_foreign", "is_repeat"):
        await connection.execute(sa.text(f"ALTER TABLE verdicts DROP COLUMN {column}"))
    await connection.execute(sa.text("ALTER TABLE misses DROP COLUMN client"))
    await connection.execute(sa.text("UPDATE alembic_version SET version_num = '0005'"))


async def test_verdicts_of_an_older_store_get_the_sources_that_it_knows(store: Store, store_url: str) -> None:
    """Recorded ones came with files, those of a run that a bundle made with the bundle; its rules were checked."""
    for run, imported_from, brought in (("own", "", False), ("files", "raw", False), ("theirs", "", True)):
        manifest = Manifest(dataset="d", dataset_hash="", agent=run, imported_from=imported_from)
        await store.runs.create(run, manifest, {"G": ["1"]}, brought=brought)
        for judge in ("recorded", "rules", "openai/any"):
            await store.verdicts.append([one_verdict(run, judge)])
    async with store.writing() as connection:
        await drop_sources(connection)

    newer = await open_store(store_url)
    sources = {
        (run, verdict.judge): verdict.source
        for run in ("own", "files", "theirs")
        for verdict in await newer.verdicts.of_run(run)
    }
    await newer.close()

    assert sources == {
        ("own", "recorded"): "a file",
        ("own", "rules"): "",
        ("own", "openai/any"): "",
        ("files", "recorded"): "raw",
        ("files", "rules"): "",
        ("files", "openai/any"): "",
        ("theirs", "recorded"): "a bundle",
        ("theirs", "rules"): "",
        ("theirs", "openai/any"): "a bundle",
    }


async def test_an_older_store_gets_the_tables_of_claims(store: Store, store_url: str) -> None:
    """They are empty: what is left of a run is found when it is continued."""
    await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {"G": ["1"]})
    tables = (schema.work_orders, schema.workers, schema.work, schema.cost_shares)
    async with store.writing() as connection:
        for table in tables:
            await connection.run_sync(table.drop)
        await connection.execute(sa.text("ALTER TABLE misses DROP COLUMN client"))
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '0007'"))

    newer = await open_store(store_url)

    async with newer.reading() as connection:
        assert [0] * 4 == [await connection.scalar(sa.select(sa.func.count()).select_from(t)) for t in tables]
        assert [] == await connection.run_sync(
            lambda c: compare_metadata(MigrationContext.configure(c), schema.metadata)
        )
    await newer.close()


async def test_repeated_verdicts_of_an_older_store_stay_in_the_log(store: Store, store_url: str) -> None:
    """Two sessions wrote the same; the first counts as before, and nothing is deleted."""
    manifest = Manifest(dataset="d", dataset_hash="", agent="a")
    await store.runs.create("r", manifest, {"G": ["1"]})
    async with store.writing() as connection:
        await drop_sources(connection)
        columns = 'run, "group", query_id, trial, metric, judge, rubric, round, status, answer_hash, document'
        for status in ("error", "solved", "error", "unsolved", "solved"):
            document = one_verdict("r", "j", status).model_dump_json()
            await connection.execute(
                sa.text(
                    f"INSERT INTO verdicts ({columns}, created_at) VALUES"
                    " ('r', 'G', '1', 0, 'sopr', 'j', 'x', 0, :status, 'h', :document, '')"
                ),
                {"status": status, "document": document},
            )

    newer = await open_store(store_url)
    marks = await newer.verdicts.marks("r", metric="sopr", judge="j", rubric="x")
    dropped = await newer.verdicts.append([one_verdict("r", "j", "unsure")])
    await newer.close()

    assert [mark.status for mark in marks] == ["error", "solved", "error", "unsolved", "solved"]
    assert dropped == 1


def one_verdict(run: str, judge: str, status: str = "solved") -> Verdict:
    """A verdict on the only answer of a run."""
    place = {"run": run, "group": "G", "query_id": "1", "judge": judge, "rubric": "x"}
    return Verdict.model_validate({**place, "round": 0, "status": status, "answer_hash": "h"})


async def test_an_older_store_is_copied_before_it_is_upgraded(
    old_store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The copy lies beside it, holds what it held, its write-ahead log included, and one line says where."""
    with closing(sqlite3.connect(old_store)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        with writer:
            writer.execute("UPDATE datasets SET source = 'only in the log'")
        before = contents(old_store)

        store = await open_store(f"sqlite:///{old_store}")
        await store.close()

    copy = old_store.with_name(f"stb.db.before-{migrations.HEAD}")
    assert before == contents(copy)
    assert "0001" == before["alembic_version"][0][0]
    assert [f"a copy of it as it is now is written to {copy} first"] == [
        record.getMessage().partition("; ")[2] for record in caplog.records
    ]


async def test_a_copy_that_is_there_is_not_overwritten(old_store: Path) -> None:
    """The next one gets a number."""
    first = old_store.with_name(f"stb.db.before-{migrations.HEAD}")
    first.write_text("precious")

    store = await open_store(f"sqlite:///{old_store}")
    await store.close()

    assert "precious" == first.read_text()
    assert (
        "0001" == contents(old_store.with_name(f"stb.db.before-{migrations.HEAD}.2"))["alembic_version"][0][0]
    )


async def test_nothing_is_upgraded_without_a_copy(old_store: Path) -> None:
    """Where no copy can be written, the error says what to do and the store stays as it is."""
    before = contents(old_store)
    in_the_way = old_store.with_name(f"stb.db.before-{migrations.HEAD}.part")
    in_the_way.mkdir()

    with pytest.raises(
        StoreError, match=r"no copy of it can be written to .* Nothing was changed.*Make room"
    ):
        await open_store(f"sqlite:///{old_store}")

    assert before == contents(old_store)


@pytest.mark.parametrize("step", ["_write_copy", "_run"])
async def test_a_process_that_is_killed_while_it_upgrades_leaves_the_store_as_it_was(
    old_store: Path, step: str
) -> None:
    """The next process upgrades it, and its responses are all there; every copy is complete."""
    url = f"sqlite:///{old_store}"
    before = contents(old_store)
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, step, url)
    assert -signal.SIGKILL == await killed.wait()
    assert before == contents(old_store)

    store = await open_store(url)
    version, datasets = await migrations.current(store), await store.datasets.all()
    await store.close()

    assert (migrations.HEAD, 181) == (version, datasets[0].responses_count)
    copies = [old_store.with_name(f"stb.db.before-{migrations.HEAD}{number}") for number in ("", ".2")]
    assert [before, before] == [contents(copy) for copy in copies]


async def test_a_new_store_needs_no_copy(tmp_path: Path) -> None:
    """Nor is anything said."""
    store = await open_store(f"sqlite:///{tmp_path / 'stb.db'}")
    await store.close()

    assert not (tmp_path / f"stb.db.before-{migrations.HEAD}").exists()


async def test_a_store_with_keys_of_another_scheme_is_refused(store: Store, store_url: str) -> None:
    """At once, since every call would be a miss; the error says which version reads it and the way here."""
    await put_weather(store)
    async with store.writing() as connection:
        await connection.execute(sa.text("UPDATE datasets SET key_scheme = 7"))

    with pytest.raises(
        StoreError, match=r"keys of scheme 7.*newer version of stabletoolbench.*stb cache load"
    ):
        await open_store(store_url)


async def test_an_older_process_beside_an_upgrade(old_store: Path) -> None:
    """The upgrade waits for what it is writing; then its statements are kept or refused, and nothing is lost."""
    names = 'run, "group", query_id, trial, metric, judge, rubric, round, status, answer_hash, document, created_at'
    judged = f"INSERT INTO verdicts ({names}) SELECT {names.replace('judge,', '?,')} FROM verdicts WHERE judge = 'rules'"
    with closing(sqlite3.connect(old_store, isolation_level=None)) as older:
        older.execute("BEGIN IMMEDIATE")
        older.execute(judged, ("written before",))
        upgrading = asyncio.create_task(open_store(f"sqlite:///{old_store}"))
        await asyncio.sleep(0.2)
        assert not upgrading.done()
        older.execute("COMMIT")
        store = await upgrading
        try:
            older.execute(judged, ("written after",))
            is_kept = True
        except sqlite3.Error:
            is_kept = False
        counts = dict(older.execute("SELECT judge, count(*) FROM verdicts GROUP BY judge"))
        await store.close()

    assert counts["written before"] == counts["rules"]
    assert counts.get("written after", 0) == (counts["rules"] if is_kept else 0)


async def test_a_store_of_a_newer_version_is_refused(store: Store, store_url: str) -> None:
    """It is left as it is, and the error says to upgrade."""
    async with store.writing() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(StoreError, match="has schema 9999, which this version does not know"):
        await open_store(store_url)
