"""Responses are found by what they are, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stb_core.store import Store, browsing
from stb_core.store.browsing import ResponseFilter
from stb_core.store.responses import Response
from stb_core.values.calls import ToolCall
from stb_core.values.provenance import Provenance


def response(api: str, number: int, body: bytes, provenance: Provenance, created_at: str) -> Response:
    call = ToolCall("Data", "tool", api, {"n": number, "é": "ü"})
    return Response(
        call.key, "Data", "tool", api, call.canonical_arguments, body, provenance, created_at=created_at
    )


RESPONSES = [
    response("a", 1, b"Sun \xc3\xa9 100%", Provenance.RECORDED, "2026-01-01T10:00:00.000000+00:00"),
    response("a", 2, b"rain", Provenance.RECORDED, "2026-01-02T10:00:00.000000+00:00"),
    response("b", 3, b"_snow_", Provenance.SIMULATED, "2026-01-02T11:00:00.000000+00:00"),
]


@pytest.fixture
async def dataset_id(store: Store) -> int:
    """A dataset with three responses in force and one superseded."""
    dataset = await store.datasets.create("d")
    old = replace(RESPONSES[1], body=b"old Sun", created_at="2026-01-01T09:00:00.000000+00:00")
    await store.responses.keep(dataset.id, [old])
    await store.responses.keep(dataset.id, RESPONSES, supersede=True)
    await store.curation.pin(dataset.id, RESPONSES[2].key, pinned=True)
    return dataset.id


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (ResponseFilter(), [0, 1, 2]),
        (ResponseFilter(category="Data", tool="tool", api="a"), [0, 1]),
        (ResponseFilter(category="Other"), []),
        (ResponseFilter(provenances=(Provenance.SIMULATED,)), [2]),
        (ResponseFilter(text="é"), [0, 1, 2]),
        (ResponseFilter(text="é 100%"), [0]),
        (ResponseFilter(text="_"), [2]),
        (ResponseFilter(text="Sun"), [0]),
        (ResponseFilter(text='"n":2'), [1]),
        (ResponseFilter(since="2026-01-02T10:00:00.000000+00:00"), [1, 2]),
        (ResponseFilter(before="2026-01-02T10:00:00.000000+00:00"), [0]),
        (ResponseFilter(pinned=True), [2]),
    ],
)
async def test_a_filter_finds_what_it_names(
    store: Store, dataset_id: int, wanted: ResponseFilter, found: list[int]
) -> None:
    """Names, origin, time and pins; text is found byte for byte in arguments and bodies in force."""
    listed = await browsing.search(store, dataset_id, wanted)

    assert {RESPONSES[number].key for number in found} == {r.key for r in listed}
    assert len(found) == await browsing.count(store, dataset_id, wanted)


async def test_keys_are_found_by_their_beginning(store: Store, dataset_id: int) -> None:
    """In order, those on record included, up to a limit."""
    keys = sorted(r.key for r in RESPONSES)

    assert await browsing.keys_like(store, dataset_id, "", limit=9) == keys
    assert await browsing.keys_like(store, dataset_id, "", limit=2) == keys[:2]
    assert await browsing.keys_like(store, dataset_id, keys[1][:20], limit=9) == [keys[1]]


async def test_a_stream_is_sorted_and_whole(
    store: Store, dataset_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every response in force once, by key, whatever the size of its pages."""
    monkeypatch.setattr(browsing, "_PAGE", 2)

    async with browsing.snapshot(store) as connection:
        streamed = [(item.key, item.body) async for item in browsing.stream(connection, dataset_id)]

    assert streamed == sorted((r.key, r.body) for r in RESPONSES)


async def test_a_snapshot_does_not_see_later_writes(store: Store, dataset_id: int) -> None:
    """What others write while it is read stays out of it."""
    async with browsing.snapshot(store) as connection:
        _, before = await browsing.state(connection, dataset_id)
        late = response("c", 9, b"late", Provenance.LIVE, "")
        await store.responses.keep(dataset_id, [late])
        streamed = [item.key async for item in browsing.stream(connection, dataset_id)]

    assert (before, late.key in streamed) == (3, False)


async def test_sums_add_up(store: Store, dataset_id: int) -> None:
    """Counts, bytes and days, superseded versions apart."""
    found = await browsing.sums(store, dataset_id)

    assert [(s.provenance, s.count, s.body_bytes) for s in found.shares] == [
        (Provenance.RECORDED, 2, len(RESPONSES[0].body) + len(RESPONSES[1].body)),
        (Provenance.SIMULATED, 1, 6),
    ]
    assert (found.superseded, found.pinned, found.apis) == (1, 1, 2)
    assert found.by_day == [("2026-01-01", 2), ("2026-01-02", 2)]
