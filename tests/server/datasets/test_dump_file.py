"""A dump is the same bytes for the same responses, and is loaded whole or refused at the line that is damaged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import small_release
from stb_core.errors import ConflictError, FormatError, NotFoundError, StbError, StoreError, UsageError
from stb_core.store import Store, bulk, open_store
from stb_core.store.responses import Response
from stb_core.values.calls import ToolCall
from stb_core.values.fingerprint import Fingerprint, response_element
from stb_core.values.provenance import Provenance
from stb_core.values.recordings import Recording
from stb_server.datasets.content_hash import NO_CONTENTS
from stb_server.datasets.differences import opened_diff_side
from stb_server.datasets.dump_file import DumpHeader, is_dump, opened_dump, parse_response_line, response_line
from stb_server.datasets.official_layout import write_official_cache
from stb_server.datasets.release import find_release, import_release
from stb_server.datasets.transfer import LoadedDump, dump, load


def recording(
    arguments: dict[str, Any],
    body: bytes = b'{"error":"","response":"x"}',
    origin: str = "recorded",
    **details: Any,
) -> Recording:
    call = ToolCall("Video_Images", "tool", "api", arguments)
    text = json.dumps(details) if details else None
    names = (call.category, call.tool, call.api)
    return Recording(call.key, *names, call.canonical_arguments, body, origin, text)


def written(path: Path, responses: Sequence[Recording], **header: Any) -> Path:
    """A dump of these responses, with header fields of our choice."""
    ordered = sorted(responses)
    fingerprint = Fingerprint()
    for response in ordered:
        fingerprint.add(response_element(response.key, response.provenance, response.body))
    fields = {
        "dataset": "d",
        "dataset_hash": NO_CONTENTS,
        "count": len(ordered),
        "content_hash": fingerprint.hash,
    }
    path.write_bytes(DumpHeader(**{**fields, **header}).line + b"".join(map(response_line, ordered)))
    return path


def content(path: Path) -> bytes:
    return path.read_bytes()


def names(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


async def loaded(store: Store, path: Path, **options: Any) -> LoadedDump:
    with opened_dump(path) as reader:
        return await load(store, reader, **options)


async def dumped(store: Store, path: Path, name: str = "d") -> bytes:
    await dump(store, await store.datasets.get(name), path)
    return content(path)


SOME = [recording({"n": n, "é": n / 2}, b'{"error":"","response":"%d"}' % n) for n in range(30)]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(), json_values, max_size=4)


@given(
    objects,
    st.one_of(objects.map(lambda value: json.dumps(value).encode()), st.text().map(str.encode)),
    objects,
)
def test_a_line_gives_back_its_response(
    arguments: dict[str, Any], body: bytes, details: dict[str, Any]
) -> None:
    """Names, canonical arguments, exact body bytes and provenance survive, whatever they hold."""
    response = recording(arguments, body, "simulated")._replace(
        details=json.dumps(details) if details else None
    )

    line = response_line(response)
    again = parse_response_line(line)

    assert again[:7] == response[:7]
    assert response_line(again) == line
    assert line.count(b"\n") == 1


@settings(max_examples=300)
@given(st.data())
def test_no_change_of_a_line_goes_unnoticed(data: st.DataObject) -> None:
    """One byte changed, taken away or put in: the line is refused."""
    line = response_line(SOME[3]).removesuffix(b"\n")
    place = data.draw(st.integers(0, len(line) - 1))
    byte = data.draw(
        st.binary(min_size=0, max_size=2).filter(lambda b: b not in {line[place : place + 1], b"\n"})
    )

    damaged = line[:place] + byte + line[place + 1 :]

    if damaged != line:
        with pytest.raises(FormatError):
            parse_response_line(damaged)


async def test_dump_load_dump_gives_the_same_bytes(
    tmp_path: Path, sqlite_store: Store, postgres_url: str
) -> None:
    """From SQLite to PostgreSQL and back, plain and compressed."""
    postgres = await open_store(postgres_url)
    back = await open_store(f"sqlite:///{tmp_path / 'back.db'}")
    release = find_release(small_release.write_release(tmp_path / "d"))
    for store in (sqlite_store, postgres, back):
        await import_release(store, release, "d", advance=lambda *_: None)
    dataset = await sqlite_store.datasets.get("d")
    extra = [
        Response(
            **{**r._asdict(), "provenance": Provenance.SIMULATED, "details": {"seed": 2**70, "model": "é"}}
        )
        for r in SOME
    ]
    await sqlite_store.responses.keep(dataset.id, extra)

    first = await dumped(sqlite_store, tmp_path / "1.jsonl")
    await loaded(postgres, tmp_path / "1.jsonl")
    second = await dumped(postgres, tmp_path / "2.jsonl.zst")
    await loaded(back, tmp_path / "2.jsonl.zst")
    third = await dumped(back, tmp_path / "3.jsonl")
    fourth = await dumped(back, tmp_path / "4.jsonl.zst")
    for store in (postgres, back):
        await store.close()

    assert first == third
    assert second == fourth
    assert first == zstandard.ZstdDecompressor().stream_reader(second).read()
    assert first.count(b"\n") == 34


async def test_the_order_and_time_of_writes_do_not_show(store: Store, tmp_path: Path) -> None:
    """The same responses written otherwise, superseded and pinned in between, are the same bytes."""
    one = await store.datasets.create("d")
    async with store.writing() as connection:
        await bulk.add_responses(store, connection, one.id, SOME)
    before = await dumped(store, tmp_path / "1.jsonl")
    await store.datasets.remove("d")
    other = await store.datasets.create("d")
    for row in reversed(SOME):
        old = Response(**{**row._asdict(), "body": b"old", "provenance": Provenance.LIVE})
        await store.responses.keep(other.id, [old])
        new = Response(**{**row._asdict(), "provenance": Provenance.RECORDED})
        await store.responses.keep(other.id, [new], supersede=True)
    await store.curation.pin(other.id, SOME[0].key, pinned=True)

    assert before == await dumped(store, tmp_path / "2.jsonl")


async def test_an_answer_that_is_there_stays_when_a_dump_is_merged(store: Store, tmp_path: Path) -> None:
    """What the dump has otherwise is a conflict; what is new is added."""
    await loaded(store, written(tmp_path / "1.jsonl", SOME[:10]))
    body, origin = (
        SOME[0]._replace(body=b'{"error":"","response":"other"}'),
        SOME[1]._replace(provenance="simulated"),
    )

    found = await loaded(store, written(tmp_path / "2.jsonl", [body, origin, *SOME[2:12]]))

    assert (found.responses, found.added, found.unchanged) == (12, 2, 8)
    conflicts = {(c.key, c.kept, c.dropped, c.same_body) for c in found.conflicts}
    assert conflicts == {
        (body.key, "recorded", "recorded", False),
        (origin.key, "recorded", "simulated", True),
    }
    assert await dumped(store, tmp_path / "3.jsonl") == written(tmp_path / "4.jsonl", SOME[:12]).read_bytes()


async def test_replace_makes_the_answers_those_of_the_dump(store: Store, tmp_path: Path) -> None:
    """Others are superseded, missing ones taken out of force; what was stays on record and can come back."""
    await loaded(store, written(tmp_path / "1.jsonl", SOME[:10]))
    changed = [row._replace(body=b'{"error":"","response":"new"}') for row in SOME[:3]]
    wanted = written(tmp_path / "2.jsonl", [*changed, *SOME[3:6], *SOME[20:22]])

    found = await loaded(store, wanted, replace=True)

    assert (found.added, found.unchanged, found.replaced, found.retired, found.conflicts) == (2, 3, 3, 4, [])
    assert await dumped(store, tmp_path / "3.jsonl") == wanted.read_bytes()
    dataset = await store.datasets.get("d")
    assert len(await store.responses.versions(dataset.id, SOME[0].key)) == 2
    assert len(await store.responses.versions(dataset.id, SOME[9].key)) == 1
    for options in ({}, {"replace": True}):
        await loaded(store, tmp_path / "1.jsonl", **options)
    assert await dumped(store, tmp_path / "4.jsonl") == (tmp_path / "1.jsonl").read_bytes()


async def test_a_pinned_answer_stays_even_when_replaced(store: Store, tmp_path: Path) -> None:
    """A pin holds against a dump that has another answer, and against one that has none."""
    await loaded(store, written(tmp_path / "1.jsonl", SOME[:2]))
    dataset = await store.datasets.get("d")
    for row in SOME[:2]:
        await store.curation.pin(dataset.id, row.key, pinned=True)

    found = await loaded(
        store,
        written(tmp_path / "2.jsonl", [SOME[0]._replace(body=b'{"error":"","response":1}')]),
        replace=True,
    )

    assert ([c.key for c in found.conflicts], found.retired) == ([SOME[0].key], 0)
    assert await dumped(store, tmp_path / "3.jsonl") == (tmp_path / "1.jsonl").read_bytes()


DAMAGE = [
    (lambda lines: lines[:4], "line 4 is the last, but the header promises 5 responses, not 3"),
    (lambda lines: [*lines[:3], lines[3][:-20]], "line 4 is cut short or not a response"),
    (lambda lines: [*lines[:3], lines[3].replace(b"recorded", b"live", 1), *lines[4:]], "line 4 was changed: its checksum is wrong"),
    (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], "line 4 is out of order"),
    (lambda lines: [*lines[:3], lines[2], *lines[3:]], "line 4 is out of order"),
    (lambda lines: [*lines[:3], b"\n", *lines[3:]], "line 4 is cut short or not a response"),
    (lambda lines: [*lines, lines[-1]], "line 7 is out of order"),
    (lambda lines: [lines[0].replace(b'"count":5', b'"count":6'), *lines[1:]], "line 6 is the last, but the header promises 6 responses, not 5"),
    (lambda lines: [lines[0].replace(b'"count":5', b'"count":"5"'), *lines[1:]], "line 1 is a header with fields of the wrong type"),
    (lambda lines: [lines[0].replace(b'"count":5,', b""), *lines[1:]], "line 1 is a header without count"),
    (lambda lines: [lines[0].replace(b"responses/1", b"responses/3"), *lines[1:]], "line 1 has the format stabletoolbench-responses/3, which this version does not know"),
    (lambda lines: [lines[0].replace(b"responses/1", b"responses/2"), *lines[1:]], "line 1 is a header without key_scheme"),
    (lambda lines: lines[1:], "line 1 is not the header of a dump"),
    (lambda _: [], "line 1 is not the header of a dump"),
    (lambda lines: [lines[0].replace(b'"content_hash":"', b'"content_hash":"0'), *lines[1:]], "line 6 is the last, and the responses do not have the hash in the header"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "said"), DAMAGE)
async def test_a_damaged_dump_is_refused_at_its_line(
    sqlite_store: Store, tmp_path: Path, damage: Any, said: str
) -> None:
    """One line that names the file, the line and the reason; and nothing is written."""
    await loaded(sqlite_store, written(tmp_path / "before.jsonl", SOME[10:12]))
    before = await sqlite_store.datasets.get("d")
    path = written(tmp_path / "x.jsonl", SOME[:5])
    path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))

    with pytest.raises(FormatError) as refused:
        await loaded(sqlite_store, path)

    assert str(refused.value) == f"{path}, {said}. Nothing was loaded. Get a new copy of the dump."
    assert await sqlite_store.datasets.get("d") == before


async def test_a_dump_cut_anywhere_is_refused(sqlite_store: Store, tmp_path: Path) -> None:
    """Plain or compressed, whatever its end is missing from: nothing is loaded, no dataset is made."""
    path = written(tmp_path / "x.jsonl", SOME[:5])
    whole = path.read_bytes()
    compressed = zstandard.ZstdCompressor().compress(whole)
    for name, everything in (("x.jsonl", whole), ("x.jsonl.zst", compressed)):
        for length in range(0, len(everything) - 1, 97):
            (tmp_path / name).write_bytes(everything[:length])
            with pytest.raises(FormatError):
                await loaded(sqlite_store, tmp_path / name)

    assert await sqlite_store.datasets.all() == []


async def test_a_dump_of_other_tools_is_refused(store: Store, tmp_path: Path) -> None:
    """A dump belongs to the tools and queries that it was made for, unless the person says otherwise."""
    await import_release(
        store, find_release(small_release.write_release(tmp_path / "r")), "d", advance=lambda *_: None
    )
    foreign = written(tmp_path / "x.jsonl", SOME)

    with pytest.raises(ConflictError) as refused:
        await loaded(store, foreign)
    with pytest.raises(NotFoundError) as missing:
        await loaded(store, written(tmp_path / "y.jsonl", SOME, dataset="e", dataset_hash="0" * 64))
    found = await loaded(store, foreign, foreign=True)

    assert (
        refused.value.message
        == f"{foreign}, line 1: the dump was made for other tools and queries than d has."
    )
    assert missing.value.message == f"There is no dataset 'e' to load {tmp_path / 'y.jsonl'} into."
    assert found.added == 30


async def test_a_dump_cannot_name_a_dataset_as_it_likes(sqlite_store: Store, tmp_path: Path) -> None:
    """A name that commands could not write is refused."""
    with pytest.raises(UsageError, match="A dataset cannot be called 'a:b'"):
        await loaded(sqlite_store, written(tmp_path / "x.jsonl", SOME, dataset="a:b"))


async def test_a_body_that_is_not_text_is_not_dumped(sqlite_store: Store, tmp_path: Path) -> None:
    """The response is named, with what to do about it."""
    dataset = await sqlite_store.datasets.create("d")
    async with sqlite_store.writing() as connection:
        await bulk.add_responses(sqlite_store, connection, dataset.id, [SOME[0]._replace(body=b"\xff")])

    with pytest.raises(StoreError, match=f"The body of response {SOME[0].key} is not text"):
        await dumped(sqlite_store, tmp_path / "x.jsonl")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"category": ".."}, "is not a response: the category name cannot be the name of a folder"),
        ({"category": "a/b"}, "is not a response: the names are not in standard form"),
        ({"tool": "Not Standard"}, "is not a response: the names are not in standard form"),
        ({"provenance": "miss"}, "is not a response that can be stored"),
        ({"provenance": "rumour"}, "is not a response"),
        ({"arguments": b"[]"}, "is not a response that can be stored"),
        ({"key": "0" * 64}, "its key is not that of its call"),
    ],
)
def test_a_line_that_lies_is_refused(change: dict[str, Any], reason: str) -> None:
    """A line whose check fits is still not believed: names, provenance and key must be what they should."""
    response = SOME[0]._replace(**change)
    if "key" not in change and isinstance(response.arguments, bytes):
        response = response._replace(
            key=ToolCall(*response[1:4], {}).key if change.get("arguments") else response.key
        )

    with pytest.raises(FormatError) as refused:
        parse_response_line(response_line(response))

    assert refused.value.message == reason


def test_a_dump_is_known_by_its_first_line(tmp_path: Path) -> None:
    """Other JSON Lines are not dumps, dumps of a version to come are; a torn compressed one may be."""
    files = {
        "dump.jsonl": written(tmp_path / "d.jsonl", SOME).read_bytes(),
        "later.jsonl": b'{"format":"stabletoolbench-responses/9"}\n',
        "log.jsonl": b'{"format":"other"}\n',
        "text.jsonl": b"text",
        "torn.jsonl.zst": b"torn",
        "dump.txt": written(tmp_path / "d.jsonl", SOME).read_bytes(),
    }
    for name, held in files.items():
        (tmp_path / name).write_bytes(held)

    known = [name for name in files if is_dump(tmp_path / name)]

    assert known == ["dump.jsonl", "later.jsonl", "torn.jsonl.zst"]


async def test_a_missing_dump_is_not_found(tmp_path: Path) -> None:
    """The path is named."""
    with (
        pytest.raises(NotFoundError, match=r"There is no dump .*/x\.jsonl\. Check the path\."),
        opened_dump(tmp_path / "x.jsonl"),
    ):
        pass


async def test_a_release_may_hold_dumps(sqlite_store: Store, tmp_path: Path) -> None:
    """``data import`` loads the dumps beside the three folders, and names those that are damaged."""
    small_release.write_tools(tmp_path / "r")
    small_release.write_queries(tmp_path / "r")
    await import_release(sqlite_store, find_release(tmp_path / "r"), "d", advance=lambda *_: None)
    dataset = await sqlite_store.datasets.get("d")
    written(tmp_path / "r" / "responses.jsonl", SOME[:20], dataset_hash=dataset.content_hash)
    written(tmp_path / "r" / "torn.jsonl", SOME[:3], count=4)

    found = await import_release(sqlite_store, find_release(tmp_path / "r"), "e", advance=lambda *_: None)

    assert (found.responses.found, found.responses.added) == (20, 20)
    ((file, reason),) = found.skipped
    assert file == "torn.jsonl"
    assert "the dump was made for other tools" in reason
    assert (await sqlite_store.datasets.get("e")).responses_count == 20


async def test_a_store_that_does_not_add_up_is_not_dumped(sqlite_store: Store, tmp_path: Path) -> None:
    """A dump is never written that could not be loaded."""
    await loaded(sqlite_store, written(tmp_path / "1.jsonl", SOME))
    async with sqlite_store.writing() as connection:
        await connection.exec_driver_sql("DELETE FROM responses WHERE id = 1")

    with pytest.raises(StoreError, match="The responses of d are not those that the store counted"):
        await dumped(sqlite_store, tmp_path / "2.jsonl")

    assert names(tmp_path, "*2.jsonl*") == []


async def test_a_dump_that_cannot_be_written_leaves_nothing(sqlite_store: Store, tmp_path: Path) -> None:
    """The place is named; a file that was there before stays."""
    await loaded(sqlite_store, written(tmp_path / "1.jsonl", SOME))
    (tmp_path / "folder.jsonl").mkdir()

    with pytest.raises(UsageError, match=r"folder\.jsonl cannot be written: Is a directory\."):
        await dumped(sqlite_store, tmp_path / "folder.jsonl")

    assert names(tmp_path, "*folder*") == ["folder.jsonl"]


async def test_the_official_layout_comes_back_as_it_was(store: Store, tmp_path: Path) -> None:
    """Written and imported again, responses have the same keys and bytes; simulated ones stay out."""
    bodies = [
        b'{"error":"","response":{"n":12345678901234567890123,"x":[1.5,null,"\xc3\xa9"]}}',
        b'{"response":"b","error":"a"}',
    ]
    real = [
        recording({"n": 2**60 + n, "s": 'it\'s "so"\n\\', "f": 0.5, "t": [True, None]}, body)
        for n, body in enumerate(bodies)
    ]
    simulated = recording({"n": 0}, origin="simulated")
    await loaded(store, written(tmp_path / "1.jsonl", [*real, simulated]))

    written_cache = await write_official_cache(
        store, await store.datasets.get("d"), tmp_path / "official", advance=lambda _: None
    )
    release = find_release(tmp_path / "official")
    again = await import_release(store, release, "again", advance=lambda *_: None)

    assert (written_cache.files, written_cache.responses, written_cache.left_out) == (1, 2, 1)
    assert again.skipped == []
    dataset = await store.datasets.get("again")
    found = [await store.responses.get(dataset.id, row.key) for row in real]
    assert [response.body for response in found if response] == bodies
    with pytest.raises(StbError, match="exists already"):
        await write_official_cache(store, dataset, tmp_path / "official", advance=lambda _: None)


def test_bodies_that_json_would_change_are_written_as_text() -> None:
    """A body with white space or a long integer stands in the dump byte for byte."""
    body = b'{"error": "", "response": 123456789012345678901}'

    line = response_line(recording({}, body))

    assert orjson.loads(line)["body_text"] == body.decode()
    assert parse_response_line(line).body == body


def test_the_scheme_of_keys_stands_only_in_dumps_that_need_it(tmp_path: Path) -> None:
    """Dumps with the first scheme are what they always were; others are of the next format."""
    first, other = (json.loads(DumpHeader("d", "", 0, "", key_scheme=scheme).line) for scheme in (1, 7))

    assert ("stabletoolbench-responses/1", None) == (first["format"], first.get("key_scheme"))
    assert ("stabletoolbench-responses/2", 7) == (other["format"], other["key_scheme"])


async def test_responses_with_keys_of_another_scheme_get_new_ones(
    sqlite_store: Store, tmp_path: Path
) -> None:
    """A dump holds the calls, so loading makes their keys anew."""
    foreign = [response._replace(key=f"{number:04}") for number, response in enumerate(SOME[:5])]
    path = written(tmp_path / "x.jsonl", foreign, key_scheme=7)

    await loaded(sqlite_store, path)

    dataset = await sqlite_store.datasets.get("d")
    for response in SOME[:5]:
        stored = await sqlite_store.responses.get(dataset.id, response.key)
        assert stored
        assert stored.body == response.body


async def test_damage_is_found_in_a_dump_with_keys_of_another_scheme(tmp_path: Path) -> None:
    """Its order and its hash are those of the keys that stand in it."""
    foreign = [response._replace(key=f"{number:04}") for number, response in enumerate(SOME[:5])]
    path = written(tmp_path / "x.jsonl", foreign, key_scheme=7, content_hash="0" * 64)

    with opened_dump(path) as reader, pytest.raises(FormatError, match="do not have the hash in the header"):
        list(reader)


async def test_a_dump_with_keys_of_another_scheme_cannot_be_compared(
    sqlite_store: Store, tmp_path: Path
) -> None:
    """Nothing would be equal; the error says what to do."""
    path = written(tmp_path / "x.jsonl", SOME[:1], key_scheme=7)

    with pytest.raises(FormatError, match=r"keys of scheme 7, and this version .* Load it into a dataset"):
        async with opened_diff_side(sqlite_store, str(path)):
            pass
