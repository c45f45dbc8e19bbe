"""Runs in the store: the journal of model calls, and queries that are kept with a run."""

from __future__ import annotations

import pytest

from stb_core.errors import NotFoundError, StoreError
from stb_core.store import Store
from stb_core.store.runs import JournalEntry
from stb_core.values.manifest import Manifest
from stb_core.values.queries import Query
from stb_core.values.tools import ApiRef


def entry(reply: str, occurrence: int = 0, trial: int = 0) -> JournalEntry:
    return JournalEntry("G", "1", trial, "hash", occurrence, reply)


async def test_what_a_model_answered_is_found_again(store: Store) -> None:
    """By request and occurrence, trial by trial."""
    await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {"G": ["1"]})

    await store.runs.journal("r", [entry("one"), entry("two", occurrence=1), entry("other", trial=1)])

    assert await store.runs.journalled("r", "G", "1", 0) == {("hash", 0): "one", ("hash", 1): "two"}


async def test_a_reply_that_is_on_record_stays(store: Store) -> None:
    """The same request of the same trial has one answer, the first."""
    await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {"G": ["1"]})
    await store.runs.journal("r", [entry("first")])

    await store.runs.journal("r", [entry("second")])

    assert await store.runs.journalled("r", "G", "1", 0) == {("hash", 0): "first"}


async def test_replies_are_written_all_or_none(store: Store) -> None:
    """However many there are; those of a run that is not there are an error."""
    await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {"G": ["1"]})
    many = [entry(str(number), trial=number) for number in range(5000)]

    await store.runs.journal("r", many)
    await store.runs.journal("r", [])
    with pytest.raises(StoreError):
        await store.runs.journal("no such run", [entry("one"), entry("other", trial=1)])

    assert {str(number) for number in range(5000)} == {
        text async for text in store.runs.journalled_replies("r")
    }


async def test_queries_are_kept_with_a_run(store: Store) -> None:
    """To the letter and once, as they came first; they go with the run."""
    manifest = Manifest(dataset="d", dataset_hash="", agent="a")
    one, two = (
        Query(query_id=query_id, group="G", text="Ελλάδα\0?", apis=(ApiRef("C", "t", "f"),))
        for query_id in "12"
    )
    await store.runs.create("r", manifest, {"G": ["1", "2"]})

    await store.runs.put_queries("r", [one])
    await store.runs.put_queries("r", [one.model_copy(update={"text": "other"}), two])
    await store.runs.put_queries("r", [])
    kept = await store.runs.queries("r")
    await store.runs.remove("r")
    await store.runs.create("r", manifest, {"G": ["1", "2"]})

    assert [one, two] == sorted(kept, key=lambda query: query.query_id)
    assert [] == await store.runs.queries("r")


async def test_the_latest_run_has_a_name(sqlite_store: Store) -> None:
    """The one made last, unless a run has that name; without runs there is none."""
    manifest = Manifest(dataset="d", dataset_hash="", agent="a")
    with pytest.raises(NotFoundError, match="There is no run '@latest'"):
        await sqlite_store.runs.get("@latest")
    for name in ("b", "c", "a"):
        await sqlite_store.runs.create(name, manifest, {})

    latest = await sqlite_store.runs.get("@latest")
    await sqlite_store.runs.create("@latest", manifest, {})
    await sqlite_store.runs.create("z", manifest, {})

    assert latest.run == "a"
    assert (await sqlite_store.runs.get("@latest")).run == "@latest"


async def test_a_name_that_is_near_is_suggested(sqlite_store: Store) -> None:
    """Of runs and of datasets; nothing is suggested where nothing is near."""
    await sqlite_store.datasets.create("spring")
    await sqlite_store.runs.create("monday", Manifest(dataset="spring", dataset_hash="", agent="a"), {})

    with pytest.raises(
        NotFoundError, match=r"^There is no run 'munday'\. Did you mean 'monday'\? List the runs"
    ):
        await sqlite_store.runs.get("munday")
    with pytest.raises(NotFoundError, match=r"^There is no run 'x'\. List the runs"):
        await sqlite_store.runs.get("x")
    with pytest.raises(
        NotFoundError, match=r"^There is no dataset 'sprang'\. Did you mean 'spring'\? There are: spring"
    ):
        await sqlite_store.datasets.get("sprang")
