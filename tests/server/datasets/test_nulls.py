"""Recordings lose the nulls that mean "not given" on their way in, and a dump names the scheme that it needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from small_release import api, cache_file, write
from stb_core.store import Store
from stb_core.values import Fingerprint, response_element
from stb_core.values.recordings import Recording
from stb_server.datasets import transfer
from stb_server.datasets.dump_file import DumpHeader, opened_dump, response_line
from stb_server.datasets.integrity import check_responses
from stb_server.datasets.release import find_release, import_release
from virtual_server import put_weather, recorded

GIVEN = recorded({"city": "Bonn"})
NULL = recorded({"city": "Bonn", "days": None}, b'{"error":"","response":"rain"}')
OTHER = recorded({"city": "Rome", "days": None}, b'{"error":"","response":"snow"}')


def write_documents(root: Path) -> None:
    days = {"name": "days", "type": "NUMBER"}
    document = {"tool_name": "Sky Watch", "api_list": [api("Current", optional_parameters=[days])]}
    write(root / "tools" / "Weather" / "sky_watch.json", document)


def write_recordings(root: Path) -> None:
    entries = {
        "{'city': 'Bonn', 'days': None}": {"error": "", "response": "rain"},
        "{'city': 'Bonn'}": {"error": "", "response": "sunny"},
        "{'city': 'Rome', 'days': None}": {"error": "", "response": "snow"},
        "{'city': None}": {"error": "", "response": "where?"},
    }
    write(cache_file(root, "Weather", "sky_watch", "current"), entries)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_an_import_in_any_order(store: Store, tmp_path: Path, order: tuple[int, int]) -> None:
    """Documents before recordings or after: the same keys and the same hash; the answer without the null is kept."""
    for number in order:
        (write_documents, write_recordings)[number](tmp_path / str(number))
        found = await import_release(
            store, find_release(tmp_path / str(number)), "d", advance=lambda *_: None
        )
    write_recordings(tmp_path / "again")
    again = await import_release(store, find_release(tmp_path / "again"), "d", advance=lambda *_: None)

    dataset = await store.datasets.get("d")
    responses = await store.responses.of_api(dataset.id, "Weather", "sky_watch", "current")
    assert {b'{"city":"Bonn"}': b'"sunny"', b'{"city":"Rome"}': b'"snow"', b'{"city":null}': b'"where?"'} == {
        one.arguments: json.dumps(json.loads(one.body)["response"]).encode() for one in responses
    }
    assert 1 == len(found.conflicts)
    assert not again.is_change
    assert [] == await check_responses(store, dataset)


def dump(path: Path, *recordings: Recording, scheme: int = 1) -> Path:
    """A dump of these responses, as an older version wrote it."""
    fingerprint = Fingerprint()
    for one in recordings:
        fingerprint.add(response_element(one.key, one.provenance, one.body))
    header = DumpHeader("weather", "0" * 64, len(recordings), fingerprint.hash, scheme)
    path.write_bytes(header.line + b"".join(response_line(one) for one in sorted(recordings)))
    return path


def as_recording(response) -> Recording:
    names = (response.category, response.tool, response.api)
    return Recording(response.key, *names, response.arguments, response.body, response.provenance.value)


@pytest.mark.parametrize("replace", [False, True], ids=["merge", "replace"])
async def test_a_dump_of_the_first_scheme(store: Store, tmp_path: Path, replace: bool) -> None:
    """Its responses get the keys of their calls without nulls; the one without a null is kept, and the other named."""
    dataset = await put_weather(store)
    path = dump(tmp_path / "old.jsonl", *map(as_recording, (NULL, GIVEN, OTHER)))

    with opened_dump(path) as reader:
        loaded = await transfer.load(store, reader, replace=replace, foreign=True)
    with opened_dump(path) as reader:
        again = await transfer.load(store, reader, replace=replace, foreign=True)

    rome = await store.responses.get(dataset.id, recorded({"city": "Rome"}).key)
    bonn = await store.responses.get(dataset.id, GIVEN.key)
    assert rome is not None
    assert bonn is not None
    assert (OTHER.body, GIVEN.body) == (rome.body, bonn.body)
    assert (3, 2, 1) == (loaded.responses, loaded.added, len(loaded.conflicts))
    assert (0, 0, 0, 1) == (again.added, again.replaced, again.retired, len(again.conflicts))
    assert [] == await check_responses(store, await store.datasets.get("weather"))


async def test_a_dump_names_the_second_scheme_only_where_a_call_holds_a_null(
    sqlite_store: Store, tmp_path: Path
) -> None:
    """Without one both make the same keys, and the dump is the same bytes as ever."""
    await put_weather(sqlite_store, GIVEN)
    await put_weather(sqlite_store, GIVEN, recorded({"city": None}), name="nulls")

    headers = [
        await transfer.dump(sqlite_store, await sqlite_store.datasets.get(name), tmp_path / f"{name}.jsonl")
        for name in ("weather", "nulls")
    ]

    assert [1, 2] == [header.key_scheme for header in headers]
    with opened_dump(tmp_path / "nulls.jsonl") as reader:
        assert 2 == len(list(reader))


def test_no_call_of_real_agents_holds_a_null(real_data: Path) -> None:
    """So no known score changes."""
    lines = (real_data / "tool_calls.jsonl").read_text(encoding="utf-8").splitlines()
    inputs = [json.loads(line)["tool_input"] for line in lines]

    assert 11_647 == len(inputs)
    assert [] == [text for text in inputs if "null" in text and None in (json.loads(text) or {}).values()]
