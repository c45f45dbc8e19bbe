"""The store keeps what it acknowledged, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
import sqlalchemy as sa

import services
from conftest import unavailable
from stb_core.errors import ConflictError, NotFoundError, StoreError, StoreUnreachableError
from stb_core.store import Store, open_store
from stb_core.store.misses import Miss
from stb_core.store.responses import Response
from stb_core.values.calls import ToolCall
from stb_core.values.manifest import Manifest
from stb_core.values.provenance import Provenance
from stb_core.values.trajectories import StopReason, Trajectory


def response(number: int = 0, body: bytes = b'{"error":"","response":""}') -> Response:
    call = ToolCall("Data", "tool", "api", {"n": number})
    return Response(
        key=call.key,
        category=call.category,
        tool=call.tool,
        api=call.api,
        arguments=call.canonical_arguments,
        body=body,
        provenance=Provenance.RECORDED,
    )


async def test_an_answered_call_never_changes(store: Store) -> None:
    """A second answer to a call that has one is not kept."""
    dataset = await store.datasets.create("d")
    await store.responses.keep(dataset.id, [response(body=b"first")])

    (kept,) = await store.responses.keep(dataset.id, [response(body=b"second")])

    assert not kept.is_new
    assert kept.response.body == b"first"
    found = await store.responses.get(dataset.id, response().key)
    assert found
    assert found.body == b"first"


async def test_a_superseded_answer_stays_on_record(store: Store) -> None:
    """Superseding makes a new version, and the old one can still be read."""
    dataset = await store.datasets.create("d")
    await store.responses.keep(dataset.id, [response(body=b"first")])

    await store.responses.keep(dataset.id, [response(body=b"second")], supersede=True)

    versions = await store.responses.versions(dataset.id, response().key)
    assert [(v.version, v.body, v.superseded_at is not None) for v in versions] == [
        (2, b"second", False),
        (1, b"first", True),
    ]


async def test_within_a_batch_the_last_one_supersedes(store: Store) -> None:
    """Two answers to one call in one superseding batch leave one version, the last."""
    dataset = await store.datasets.create("d")

    await store.responses.keep(dataset.id, [response(body=b"a"), response(body=b"b")], supersede=True)

    versions = await store.responses.versions(dataset.id, response().key)
    assert [(v.version, v.body) for v in versions] == [(1, b"b")]
    assert (await store.datasets.get("d")).responses_count == 1


async def test_the_hash_of_all_responses_does_not_depend_on_the_order_of_writes(store: Store) -> None:
    """The same responses written in another order, in other batches, have the same hash."""
    one, other = await store.datasets.create("one"), await store.datasets.create("other")
    batch = [response(n, b"%d" % n) for n in range(20)]

    await store.responses.keep(one.id, batch)
    for item in reversed(batch):
        await store.responses.keep(other.id, [item])

    hashes = {(await store.datasets.get(name)).responses_hash for name in ("one", "other")}
    assert len(hashes) == 1


async def test_writers_of_several_stores_lose_nothing(store: Store, store_url: str) -> None:
    """Eight writers over two engines, with keys in common: one winner a key, all keys kept."""
    dataset = await store.datasets.create("d")
    second = await open_store(store_url)

    async def write(writer: int) -> list[bytes]:
        target = (store, second)[writer % 2]
        kept = [await target.responses.keep(dataset.id, [response(n, b"by %d" % writer)]) for n in range(10)]
        return [k.response.body for (k,) in kept]

    seen = await asyncio.gather(*(write(w) for w in range(8)))
    await second.close()

    assert all(bodies == seen[0] for bodies in seen)
    assert (await store.datasets.get("d")).responses_count == 10


async def test_a_store_that_was_closed_opens_again(store: Store, store_url: str) -> None:
    """What was written is there for the next process."""
    dataset = await store.datasets.create("d")
    await store.responses.keep(dataset.id, [response()])

    again = await open_store(store_url)
    found = await again.responses.get(dataset.id, response().key)
    await again.close()

    assert found


async def test_processes_that_open_an_empty_store_at_once_agree(unmigrated_url: str) -> None:
    """The migrations run once, whoever comes first."""
    stores = await asyncio.gather(*(open_store(unmigrated_url) for _ in range(4)))
    names = [(await s.datasets.create("d")).id for s in stores]
    for opened in stores:
        await opened.close()

    assert len(set(names)) == 1


async def test_a_missing_dataset_is_named_with_those_that_are_there(store: Store) -> None:
    """The error lists the datasets of the store."""
    await store.datasets.create("real")

    with pytest.raises(NotFoundError, match=r"'rael'\. Did you mean 'real'\? There are: real\."):
        await store.datasets.get("rael")


async def test_a_miss_is_counted_up(store: Store) -> None:
    """The same missed call twice is one line with count 2."""
    dataset = await store.datasets.create("d")
    miss = Miss(key="k", category="c", tool="t", api="a", arguments=b"{}")

    await store.misses.record(dataset.id, [miss])
    await store.misses.record(dataset.id, [miss])

    (found,) = await store.misses.most_frequent(dataset.id)
    assert found.count == 2


async def test_a_run_of_the_same_name_with_other_settings_is_refused(store: Store) -> None:
    """A run's name stands for one manifest."""
    await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {})

    with pytest.raises(ConflictError):
        await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="b"), {})


async def test_the_last_attempt_of_a_trial_counts(store: Store) -> None:
    """An attempt that infrastructure spoiled is superseded by the next."""
    await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {"G": ["1"]})
    spoiled = Trajectory(group="G", query_id="1", query="?", agent="a", stop=StopReason.INFRASTRUCTURE)
    good = spoiled.model_copy(update={"stop": StopReason.ANSWERED})

    await store.runs.put_trajectories("r", [spoiled])
    await store.runs.put_trajectories("r", [good])

    assert [good] == [t async for t in store.runs.trajectories("r")]
    assert [(d.attempt, d.stop) for d in await store.runs.done("r")] == [(1, StopReason.ANSWERED)]


@pytest.mark.linux
@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "STB_DATABASE_URL is not a database URL."),
        ("mysql://localhost/x", "A mysql database cannot be a store."),
        ("sqlite:////proc/no/store.db", "The store /proc/no/store.db cannot be written"),
        ("postgresql://postgres@127.0.0.1:1/x", "cannot be reached"),
    ],
)
async def test_a_store_that_cannot_be_opened_says_why(url: str, message: str) -> None:
    """One line that names the store and the reason."""
    with pytest.raises(StoreError, match=message):
        await open_store(url)


async def test_a_file_that_is_not_a_database_is_refused(tmp_path, sqlite_store_url: str) -> None:
    """A text file in the store's place is left as it is."""
    (tmp_path / "store.db").write_text("not a database, but text that is long enough to be looked at" * 20)

    with pytest.raises(StoreError, match="is damaged"):
        await open_store(sqlite_store_url)


async def test_a_store_with_patience_waits_for_a_database_that_is_restarted() -> None:
    """What begins while PostgreSQL is away is done when it is back; without patience it fails at once."""
    if not services.Postgres.installed():
        unavailable("PostgreSQL")
    with tempfile.TemporaryDirectory(prefix="stb-away-") as folder, services.Postgres(Path(folder)) as server:
        store = await open_store(server.create_database("away"))
        await asyncio.to_thread(server.stop)
        with pytest.raises(StoreUnreachableError):
            await store.try_write()

        store.patience_s = 120
        writing = asyncio.create_task(store.try_write())
        await asyncio.to_thread(server.start)
        await writing
        await store.close()


async def test_a_transaction_that_postgresql_has_undone_is_done_again(store: Store) -> None:
    """Two that wait for each other: one of them is undone, and nobody has to know."""
    if store.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    undone = sa.text("DO $$ BEGIN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END $$")
    tries = []

    def work(connection: sa.Connection) -> str:
        tries.append(connection)
        if len(tries) < 3:
            connection.execute(undone)
        return "done"

    assert (await store.transact(work), len(tries)) == ("done", 3)
