"""Responses written in bulk obey the rules of those written one by one."""

from __future__ import annotations

import asyncio
import json

from stb_core.store import Store, browsing, bulk, open_store
from stb_core.store.responses import Response
from stb_core.values.calls import ToolCall
from stb_core.values.fingerprint import Fingerprint, response_element
from stb_core.values.provenance import Provenance
from stb_core.values.recordings import Recording, RecordingRow


def row(number: int, body: bytes = b'{"error":"","response":""}', details: str | None = None) -> Recording:
    call = ToolCall("Data", "tool", f"api_{number % 3}", {"n": number})
    return Recording(
        call.key, *(call.category, call.tool, call.api), call.canonical_arguments, body, "recorded", details
    )


def response(number: int, body: bytes = b'{"error":"","response":""}') -> Response:
    return Response(**{**row(number, body)._asdict(), "provenance": Provenance.RECORDED})


async def add(
    store: Store, dataset_id: int, rows: list[RecordingRow], fingerprint: Fingerprint | None = None
) -> dict[str, Response]:
    async with store.writing() as connection:
        return await bulk.add_responses(store, connection, dataset_id, rows, fingerprint)


async def test_the_hash_is_that_of_writes_one_by_one(store: Store) -> None:
    """However rows are written, and whether or not their fingerprint is known before."""
    one, two, three = [(await store.datasets.create(name)).id for name in ("one", "two", "three")]
    rows: list[RecordingRow] = [row(n, b"%d" % n) for n in range(450)]
    known = Fingerprint()
    for key, *_, body, provenance, _ in rows:
        known.add(response_element(key, provenance, body))

    await store.responses.keep(one, [response(n, b"%d" % n) for n in range(450)])
    await add(store, two, rows)
    await add(store, three, list(reversed(rows)), known)

    found = {(d.responses_hash, d.responses_count) for d in await store.datasets.all()}
    assert found == {(known.hash, 450)}


async def test_an_answered_call_stays_as_it_is(store: Store) -> None:
    """Rows with new keys are added; for the others the answers in force are returned."""
    dataset = await store.datasets.create("d")
    await add(store, dataset.id, [row(n, b"old") for n in range(300)])

    there = await add(store, dataset.id, [row(n, b"new") for n in range(200, 600)])

    assert {r.body for r in there.values()} == {b"old"}
    assert set(there) == {row(n).key for n in range(200, 300)}
    assert (await store.datasets.get("d")).responses_count == 600
    kept = await store.responses.get(dataset.id, row(400).key)
    assert kept is not None
    assert (kept.body, kept.version, kept.created_at > "2026") == (b"new", 1, True)


async def test_a_call_whose_answer_was_retired_gets_a_further_version(store: Store) -> None:
    """What was taken out of force stays on record under its own version."""
    dataset = await store.datasets.create("d")
    await add(store, dataset.id, [row(1, b"old"), row(2)])
    async with store.writing() as connection:
        retired = await store.responses.retire(connection, dataset.id, [row(1).key, "0" * 64])
    gone = await store.datasets.get("d")

    await add(store, dataset.id, [row(1, b"new"), row(2)])
    async with store.writing() as connection:
        await store.responses.retire(connection, dataset.id, [row(1).key])
    await store.responses.keep(dataset.id, [response(1, b"newer")])

    assert (retired, gone.responses_count) == (1, 1)
    versions = await store.responses.versions(dataset.id, row(1).key)
    assert [(v.version, v.body) for v in versions] == [(3, b"newer"), (2, b"new"), (1, b"old")]
    expected = Fingerprint()
    for body, item in ((b"newer", row(1)), (row(2).body, row(2))):
        expected.add(response_element(item.key, item.provenance, body))
    assert (await store.datasets.get("d")).responses_hash == expected.hash


async def test_erased_answers_leave_nothing(store: Store) -> None:
    """All versions are gone, and the hash is that of the rest."""
    dataset = await store.datasets.create("d")
    empty = dataset.responses_hash
    await add(store, dataset.id, [row(1)])
    await store.responses.keep(dataset.id, [response(1, b"x")], supersede=True)

    async with store.writing() as connection:
        await store.responses.retire(connection, dataset.id, [row(1).key], erase=True)

    assert await store.responses.versions(dataset.id, row(1).key) == []
    after = await store.datasets.get("d")
    assert (after.responses_hash, after.responses_count) == (empty, 0)


async def test_writers_at_once_lose_nothing(store: Store, store_url: str) -> None:
    """In bulk and one by one, over two engines: one winner a key, and a hash that fits."""
    dataset = await store.datasets.create("d")
    second = await open_store(store_url)

    await asyncio.gather(
        add(store, dataset.id, [row(n, b"a") for n in range(250)]),
        add(second, dataset.id, [row(n, b"b") for n in range(100, 350)]),
        *(store.responses.keep(dataset.id, [response(n, b"c")]) for n in range(90, 110)),
    )
    await second.close()

    expected, count = Fingerprint(), 0
    async with browsing.snapshot(store) as connection:
        async for item in browsing.stream(connection, dataset.id):
            expected.add(response_element(item.key, item.provenance, item.body))
            count += 1
    after = await store.datasets.get("d")
    assert (count, after.responses_count) == (350, 350)
    assert after.responses_hash == expected.hash


async def test_details_are_read_as_they_were_written(store: Store) -> None:
    """JSON text in, the same values out, by either way of writing; none is none."""
    dataset = await store.datasets.create("d")
    details = {"seed": 2**70, "model": "é", "list": [1, None]}
    await add(store, dataset.id, [row(1, details=json.dumps(details)), row(2)])
    await store.responses.keep(
        dataset.id, [Response(**{**response(3).__dict__, "details": details}), response(4)]
    )

    async with browsing.snapshot(store) as connection:
        streamed = {item.key: item.details async for item in browsing.stream(connection, dataset.id)}

    found = [await store.responses.get(dataset.id, row(n).key) for n in (1, 2, 3, 4)]
    assert [r.details for r in found if r] == [details, None, details, None]
    assert [json.loads(streamed[row(n).key] or "0") for n in (1, 2, 3, 4)] == [details, 0, details, 0]
