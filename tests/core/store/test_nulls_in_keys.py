"""Keys of calls with a null for an optional parameter are made anew, and nothing else changes."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.script import ScriptDirectory

from stb_core.store import CurationAct, Miss, Store, migrations, open_store, schema
from stb_core.store.datasets import Dataset
from stb_core.store.nulls_in_keys import MergedCall, renew_keys
from stb_core.store.responses import Response
from stb_core.values import Fingerprint, response_element
from stb_core.values.tools import ApiRef
from virtual_server import put_weather, recorded

CURRENT = ApiRef("Weather", "sky_watch", "current")
GIVEN = recorded({"city": "Bonn"})
NULL = recorded({"city": "Bonn", "days": None}, b'{"error":"","response":"rain"}')
KEPT = (
    recorded({"city": None}),  # required
    recorded({"city": "Bonn", "depth": None}),  # not documented
    recorded({"city": "Bonn", "days": {"from": None}}),  # within a value
    recorded({"days": None}, api="forecast"),  # of an API without parameters
    recorded({"days": None}, api="unknown"),  # of an API without a document
    recorded({"city": ':null, "days":null'}),
)


async def renewed(store: Store, dataset: Dataset) -> list[MergedCall]:
    async with store.writing() as connection:
        return await connection.run_sync(renew_keys, dataset.id)


async def keys(store: Store, dataset: Dataset) -> dict[bytes, list[tuple[int, bytes, bool]]]:
    """Arguments → version, body and whether it is in force, of all that is on record."""
    r = schema.responses.c
    found: dict[bytes, list[tuple[int, bytes, bool]]] = {}
    async with store.reading() as connection:
        rows = await connection.execute(sa.select(schema.responses).order_by(r.key, r.version))
        for row in rows:
            found.setdefault(row.arguments, []).append((row.version, row.body, row.superseded_at is None))
    return found


def hash_of(*responses: Response) -> str:
    fingerprint = Fingerprint()
    for one in responses:
        fingerprint.add(response_element(one.key, one.provenance, one.body))
    return fingerprint.hash


async def test_a_call_gets_the_key_that_it_has_without_the_null(store: Store) -> None:
    """Its versions and its place in snapshots stay; the hash is that of a dataset recorded without the null."""
    before = await put_weather(store, NULL)
    await store.responses.keep(
        before.id, [recorded({"city": "Bonn", "days": None}, b'"new"')], supersede=True
    )
    snapshot = await store.snapshots.take(before.id)

    merged = await renewed(store, before)

    after = await store.datasets.get("weather")
    assert [] == merged
    assert {GIVEN.arguments: [(1, NULL.body, False), (2, b'"new"', True)]} == await keys(store, after)
    assert hash_of(recorded({"city": "Bonn"}, b'"new"')) == after.responses_hash
    assert (1, before.changes + 2) == (after.responses_count, after.changes)
    assert snapshot == await store.snapshots.get(before.id, snapshot.hash)
    assert (await store.responses.get(before.id, GIVEN.key)).body == b'"new"'  # type: ignore[union-attr]


async def test_of_two_recordings_the_one_without_the_null_stays(store: Store) -> None:
    """The other is on record as an older version, in no snapshot, and the merge is told."""
    dataset = await put_weather(store, GIVEN, NULL)

    merged = await renewed(store, dataset)

    after = await store.datasets.get("weather")
    assert [MergedCall(CURRENT, GIVEN.arguments, NULL.arguments, same_body=False)] == merged
    assert {GIVEN.arguments: [(1, NULL.body, False), (2, GIVEN.body, True)]} == await keys(store, after)
    assert (hash_of(GIVEN), 1) == (after.responses_hash, after.responses_count)


async def test_calls_that_differ_in_nulls_alone_become_one(store: Store) -> None:
    """None of them was recorded without a null: the first by its arguments is in force."""
    dataset = await put_weather(store)
    texts = (
        {"city": "Rome", "days": None},
        {"city": "Rome", "days": None, "zone": 1},
        {"city": "Rome", "zone": 1},
    )
    await store.responses.keep(dataset.id, [recorded(one) for one in texts])

    assert 1 == len(await renewed(store, dataset))
    assert 2 == (await store.datasets.get("weather")).responses_count


async def test_other_nulls_stay(store: Store) -> None:
    """Of required parameters, of such as no document has, and within values; then nothing is written."""
    before = await put_weather(store, GIVEN, *KEPT)
    recorded_before = await keys(store, before)

    assert [] == await renewed(store, before)
    assert before == await store.datasets.get("weather")
    assert recorded_before == await keys(store, before)


async def test_once_is_enough(store: Store) -> None:
    """Keys that were made anew are left alone."""
    dataset = await put_weather(store, GIVEN, NULL)
    await renewed(store, dataset)
    once = await store.datasets.get("weather")

    assert [] == await renewed(store, dataset)
    assert once == await store.datasets.get("weather")


async def test_what_is_known_of_a_call_goes_with_it(store: Store) -> None:
    """Its note, and its count in the ledger of misses, which becomes one with that of the call without the null."""
    dataset = await put_weather(store, NULL)
    await store.curation.note(dataset.id, NULL.key, "odd")
    missed: list[Any] = [recorded({"city": "Rome"}), recorded({"city": "Rome", "days": None})]
    misses = [Miss(one.key, *CURRENT, arguments=one.arguments, count=3) for one in missed]
    await store.misses.record(dataset.id, misses)

    await renewed(store, dataset)

    found = await store.misses.most_frequent(dataset.id)
    assert [(missed[0].key, 6)] == [(one.key, one.count) for one in found]
    assert [CurationAct.NOTE] == [event.act for event in await store.curation.of(dataset.id, GIVEN.key)]


async def test_a_store_with_keys_of_the_first_scheme_is_brought_up_to_date(
    store: Store, store_url: str
) -> None:
    """By its migration: calls with a null are found under their new keys, and the store opens."""
    await put_weather(store, NULL, recorded({"city": "Rome"}))
    scripts = ScriptDirectory(migrations.__path__[0]).walk_revisions()
    (script,) = [one for one in scripts if str(one.module.__file__).endswith("nulls_in_keys.py")]
    async with store.writing() as connection:
        await connection.execute(sa.text("UPDATE datasets SET key_scheme = 1"))
        await connection.run_sync(lambda c: migrations._run(c, [script]))

    opened = await open_store(store_url)
    dataset = await opened.datasets.get("weather")
    found = await opened.responses.get(dataset.id, GIVEN.key)
    await opened.close()

    assert found is not None
    assert NULL.body == found.body
    assert 2 == dataset.responses_count
