"""A snapshot shows what was in force when it was taken, whatever is written later."""

from __future__ import annotations

import sqlalchemy as sa

from stb_core.store import Store, leases, schema
from stb_core.store.responses import Response
from stb_core.store.snapshots import Snapshot
from stb_core.values.calls import ToolCall
from stb_core.values.provenance import Provenance


def response(number: int, body: bytes) -> Response:
    call = ToolCall("Data", "tool", "api", {"n": number})
    names = call.category, call.tool, call.api
    return Response(call.key, *names, call.canonical_arguments, body, Provenance.RECORDED)


async def bodies(store: Store, snapshot: Snapshot) -> set[bytes]:
    """What a snapshot shows, by its definition."""
    r = schema.responses.c
    shown = sa.select(r.body).where(
        r.dataset_id == snapshot.dataset_id,
        r.id <= snapshot.last_id,
        r.superseded_in.is_(None) | (r.superseded_in > snapshot.changes),
    )
    async with store.reading() as connection:
        return set(await connection.scalars(shown))


async def test_a_snapshot_outlives_what_happens_to_its_responses(store: Store) -> None:
    """Adding, superseding and retiring change the dataset, and no snapshot that was taken before."""
    dataset = await store.datasets.create("d")
    await store.responses.keep(dataset.id, [response(n, b"first %d" % n) for n in range(3)])
    first = await store.snapshots.take(dataset.id)
    await store.responses.keep(dataset.id, [response(0, b"second 0")], supersede=True)
    await store.responses.keep(dataset.id, [response(3, b"first 3")])
    second = await store.snapshots.take(dataset.id)
    async with store.writing() as connection:
        await store.responses.retire(connection, dataset.id, [response(1, b"").key])
    third = await store.snapshots.take(dataset.id)

    assert {b"first 0", b"first 1", b"first 2"} == await bodies(store, first)
    assert {b"second 0", b"first 1", b"first 2", b"first 3"} == await bodies(store, second)
    assert {b"second 0", b"first 2", b"first 3"} == await bodies(store, third)
    assert [3, 4, 3] == [s.responses_count for s in (first, second, third)]


async def test_a_snapshot_is_named_by_its_content(store: Store) -> None:
    """Its hash is the dataset's at that moment; taken twice it is one; another dataset has others."""
    dataset, other = await store.datasets.create("d"), await store.datasets.create("other")
    for place in (dataset, other):
        await store.responses.keep(place.id, [response(0, b"a")])

    first, again = await store.snapshots.take(dataset.id), await store.snapshots.take(dataset.id)

    assert first.hash == again.hash == (await store.datasets.get("d")).responses_hash
    found = await store.snapshots.get(dataset.id, first.hash)
    assert found
    assert (first.last_id, first.changes) == (found.last_id, found.changes)
    assert await store.snapshots.get(other.id, first.hash) is None


async def test_a_lease_has_one_holder(store: Store) -> None:
    """Until it is given back or runs out; its holder may renew it."""
    async with store.writing() as connection:
        taken = [
            await leases.take(store, connection, "a", "one", 60),
            await leases.take(store, connection, "a", "two", 60),
            await leases.take(store, connection, "a", "one", 60),
            await leases.take(store, connection, "b", "two", -1),
            await leases.take(store, connection, "b", "one", 60),
        ]
        await leases.give_back(connection, "a", "two")
        await leases.give_back(connection, "b", "one")
        taken += [
            await leases.take(store, connection, "a", "two", 60),
            await leases.take(store, connection, "b", "two", 60),
        ]

    assert [True, False, True, True, True, False, True] == taken
