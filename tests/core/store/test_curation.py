"""What people do with responses by hand is done as a whole, and stays on record."""

from __future__ import annotations

import pytest

from stb_core.errors import NotFoundError, UsageError
from stb_core.store import Store
from stb_core.store.curation import MAX_TEXT, CurationAct, note_of
from stb_core.store.datasets import Dataset
from virtual_server import put_weather, recorded

BONN = recorded({"city": "Bonn"})
OSLO = recorded({"city": "Oslo"})


@pytest.fixture
async def weather(store: Store) -> Dataset:
    """A dataset with two responses."""
    return await put_weather(store, BONN, OSLO)


async def test_the_last_note_stands(store: Store, weather: Dataset) -> None:
    """Earlier ones stay on record; empty text takes it away."""
    await store.curation.note(weather.id, BONN.key, "doubtful")
    await store.curation.note(weather.id, BONN.key, "wrong\x00, says <b>Ann</b> \ud800")
    await store.curation.note(weather.id, OSLO.key, "fine")

    events = await store.curation.of(weather.id, BONN.key)
    notes = await store.curation.notes(weather.id, [BONN.key, OSLO.key])

    assert ["wrong, says <b>Ann</b> ?", "doubtful"] == [event.text for event in events]
    assert {BONN.key: note_of(events), OSLO.key: "fine"} == notes
    await store.curation.note(weather.id, BONN.key, "")
    assert {} == await store.curation.notes(weather.id, [BONN.key])


async def test_pinning_twice_is_pinning_once(store: Store, weather: Dataset) -> None:
    """And a pinned response is not superseded."""
    await store.curation.pin(weather.id, BONN.key, pinned=True)
    await store.curation.pin(weather.id, BONN.key, pinned=True)
    other = recorded({"city": "Bonn"}, b'{"error":"","response":"rain"}')
    await store.responses.keep(weather.id, [other], supersede=True)
    await store.curation.pin(weather.id, BONN.key, pinned=False)

    assert [CurationAct.UNPIN, CurationAct.PIN] == [
        event.act for event in await store.curation.of(weather.id, BONN.key)
    ]
    assert 1 == len(await store.responses.versions(weather.id, BONN.key))


async def test_a_deleted_response_can_be_put_back(store: Store, weather: Dataset) -> None:
    """It is out of force with its versions on record, and comes back as a version of its own."""
    before = (await store.datasets.get("weather")).responses_hash

    await store.curation.delete(weather.id, BONN.key, "stale")
    gone = await store.responses.get(weather.id, BONN.key)
    with pytest.raises(UsageError, match="no longer in force"):
        await store.curation.delete(weather.id, BONN.key)
    await store.curation.restore(weather.id, BONN.key)
    await store.curation.restore(weather.id, BONN.key)

    again = await store.responses.get(weather.id, BONN.key)
    events = await store.curation.of(weather.id, BONN.key)
    assert gone is None
    assert again
    assert (2, BONN.body) == (again.version, again.body)
    assert [(CurationAct.RESTORE, ""), (CurationAct.RETIRE, "stale")] == [
        (event.act, event.text) for event in events
    ]
    assert before == (await store.datasets.get("weather")).responses_hash


async def test_an_erased_response_leaves_its_record(store: Store, weather: Dataset) -> None:
    """The call and the hash of what it was answered with."""
    await store.curation.delete(weather.id, BONN.key, "private", erase=True)

    assert [] == await store.responses.versions(weather.id, BONN.key)
    (event,) = await store.curation.latest(weather.id, limit=10)
    assert (BONN.key, CurationAct.ERASE, "private") == (event.key, event.act, event.text)
    assert ("sky_watch", '{"city":"Bonn"}') == (event.details["tool"], event.details["arguments"])
    assert 1 == len(event.details["versions"])
    with pytest.raises(NotFoundError, match="There is no response"):
        await store.curation.note(weather.id, BONN.key, "too late")


async def test_a_text_that_is_too_long_changes_nothing(store: Store, weather: Dataset) -> None:
    """The response stays in force when the reason cannot be kept."""
    with pytest.raises(UsageError, match="Write 10000 at most"):
        await store.curation.delete(weather.id, BONN.key, "x" * (MAX_TEXT + 1))

    assert await store.responses.get(weather.id, BONN.key)
