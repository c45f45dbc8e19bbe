"""Superseded versions go when they are old, unless a snapshot shows them; what is in force stays."""

from __future__ import annotations

from stb_core.store import Store, retention
from stb_core.values import clock
from virtual_server import put_weather, recorded

BONN = {"city": "Bonn"}
_LATER = "9999-01-01"


async def answer(store: Store, dataset_id: int, word: str) -> None:
    """A newer answer to one call."""
    body = f'{{"error":"","response":"{word}"}}'.encode()
    await store.responses.keep(dataset_id, [recorded(BONN, body)], supersede=True)


async def versions(store: Store, dataset_id: int) -> list[int]:
    """The versions of that call."""
    return [one.version for one in await store.responses.versions(dataset_id, recorded(BONN).key)]


async def test_superseded_versions_go_and_the_hash_stays(store: Store) -> None:
    """Only the answer in force is left, with its number and under the same hash."""
    dataset = await put_weather(store, recorded(BONN))
    for word in ("rain", "snow"):
        await answer(store, dataset.id, word)
    before = await store.datasets.get("weather")

    assert 2 == (await retention.count_prunable(store, dataset.id, _LATER)).versions
    assert 2 == await retention.prune(store, dataset.id, _LATER)

    assert [3] == await versions(store, dataset.id)
    assert before.responses_hash == (await store.datasets.get("weather")).responses_hash


async def test_recent_versions_stay(store: Store) -> None:
    """What was superseded after the moment is kept."""
    dataset = await put_weather(store, recorded(BONN))
    moment = clock.now()
    await answer(store, dataset.id, "rain")

    assert 0 == await retention.prune(store, dataset.id, moment)
    assert [2, 1] == await versions(store, dataset.id)


async def test_what_a_snapshot_shows_stays(store: Store) -> None:
    """Of three superseded versions the one of the snapshot is kept."""
    dataset = await put_weather(store, recorded(BONN))
    await answer(store, dataset.id, "rain")
    await store.snapshots.take(dataset.id)
    for word in ("snow", "hail"):
        await answer(store, dataset.id, word)

    assert 2 == await retention.prune(store, dataset.id, _LATER)
    assert [4, 2] == await versions(store, dataset.id)


async def test_the_last_version_of_a_retired_answer_stays(store: Store) -> None:
    """It can still be put into force again."""
    dataset = await put_weather(store, recorded(BONN))
    await answer(store, dataset.id, "rain")
    await store.curation.delete(dataset.id, recorded(BONN).key, "wrong")

    assert 1 == await retention.prune(store, dataset.id, _LATER)
    await store.curation.restore(dataset.id, recorded(BONN).key)
    assert [3, 2] == await versions(store, dataset.id)


async def test_other_datasets_stay(store: Store) -> None:
    """Only the dataset that is named is pruned."""
    one, other = (
        await put_weather(store, recorded(BONN)),
        await put_weather(store, recorded(BONN), name="other"),
    )
    for dataset in (one, other):
        await answer(store, dataset.id, "rain")

    await retention.prune(store, one.id, _LATER)

    assert ([2], [2, 1]) == (await versions(store, one.id), await versions(store, other.id))
