"""A release in the official layout comes into the store whole, exactly, and only once."""

from __future__ import annotations

import asyncio
import functools
import json
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import small_release
from small_release import ANSWER, CURRENT, cache_file, query, write, write_entries
from stb_core.errors import NotFoundError, StbError, UsageError
from stb_core.store import Store, open_store
from stb_core.store.datasets import Dataset
from stb_core.store.responses import Response
from stb_core.values.calls import ToolCall, parse_arguments
from stb_core.values.provenance import Provenance
from stb_core.values.recordings import Recording
from stb_core.values.tools import ApiRef
from stb_server.calls.catalogue import Catalogue
from stb_server.datasets import parallel_reading, release
from stb_server.datasets.content_hash import contents_hash
from stb_server.datasets.import_report import Conflict, Gap, SkippedFile
from stb_server.datasets.importing import DatasetImport, Importer
from stb_server.datasets.integrity import check_contents, check_responses, response_problem
from stb_server.datasets.official_release import OfficialRelease
from stb_server.datasets.query_files import read_queries
from stb_server.datasets.release import ImportFormat, find_release, import_release
from stb_server.datasets.release_folder import ReleaseFolder
from stb_server.datasets.response_files import RecordingBatch, read_response_files
from stb_server.datasets.tool_files import derive_tools, read_tools


def unwatched(_what: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


async def imported(store: Store, path: Path, name: str = "d") -> DatasetImport:
    return await import_release(store, find_release(path), name, advance=unwatched)


async def bodies(store: Store, name: str = "d") -> dict[str, bytes]:
    """Arguments to body, of the one API that ``write_entries`` fills."""
    dataset = await store.datasets.get(name)
    found = await store.responses.of_api(dataset.id, "Weather", "sky_watch", "current")
    return {response.arguments.decode(): response.body for response in found}


async def test_all_parts_are_imported(store: Store, tmp_path: Path) -> None:
    """Tools, APIs, the queries that count, and responses under the keys of their calls."""
    small_release.write_release(tmp_path / "r")

    found = await imported(store, tmp_path / "r")

    assert {name: (part.found, part.added, part.changed) for name, part in found.parts.items()} == {
        "tools": (2, 2, 0),
        "apis": (3, 3, 0),
        "queries": (3, 3, 0),
        "responses": (3, 3, 0),
    }
    dataset = await store.datasets.get("d")
    queries = await store.datasets.queries(dataset.id)
    assert [(q.group, q.query_id) for q in queries] == [
        ("G1_tool", "7"),
        ("G1_tool", "9"),
        ("G3_instruction", "1"),
    ]
    assert queries[2].apis == (
        ApiRef("Weather", "sky_watch", "get_forecast"),
        ApiRef("Video_Images", "get_123_clips", "is_id"),
    )
    assert queries[2].relevant_apis == queries[2].apis
    kept = await store.responses.get(dataset.id, ToolCall("Video_Images", "get_123_clips", "is_id", {}).key)
    assert kept is not None
    assert (kept.body, kept.provenance) == (b'{"error":"","response":"sunny"}', Provenance.RECORDED)
    assert await check_contents(store, dataset) + await check_responses(store, dataset) == []


async def test_a_second_import_changes_nothing(store: Store, tmp_path: Path) -> None:
    """The same release again is found to be there."""
    small_release.write_release(tmp_path / "r")
    await imported(store, tmp_path / "r")
    before = await store.datasets.get("d")

    found = await imported(store, tmp_path / "r")

    assert not found.is_change
    assert found.responses.found == 3
    assert await store.datasets.get("d") == before


WRITERS = (small_release.write_tools, small_release.write_queries, small_release.write_cache)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
async def test_the_order_of_imports_does_not_matter(
    store: Store, tmp_path: Path, order: Sequence[int]
) -> None:
    """Part by part, in any order, or at once: the same hashes."""
    await imported(store, small_release.write_release(tmp_path / "whole"), "whole")

    for number in order:
        WRITERS[number](tmp_path / str(number))
        await imported(store, tmp_path / str(number), "parts")

    whole, parts = await store.datasets.get("whole"), await store.datasets.get("parts")
    assert (whole.content_hash, whole.responses_hash) == (parts.content_hash, parts.responses_hash)


@pytest.mark.parametrize("part", ["tools", "solvable_queries", "tool_response_cache"])
async def test_a_part_alone_belongs_to_its_release(sqlite_store: Store, tmp_path: Path, part: str) -> None:
    """One of the three folders may be named itself; its dataset is called after the folder that holds it."""
    small_release.write_release(tmp_path / "spring")

    spring = find_release(tmp_path / "spring" / part)
    found = await import_release(sqlite_store, spring, spring.name, advance=unwatched)

    assert spring.name == "spring"
    assert found.is_change
    assert found.skipped == []


@dataclass(frozen=True)
class CsvFolder:
    """A further format: CSV files of category, tool, API and answer."""

    files: tuple[Path, ...]

    @classmethod
    def find(cls, _folder: ReleaseFolder, children: Sequence[Path]) -> CsvFolder | None:
        files = tuple(child for child in children if child.suffix == ".csv")
        return cls(files) if files else None

    async def import_into(self, importer: Importer) -> bool:
        batch = RecordingBatch()
        for file in self.files:
            for line in file.read_text().splitlines():
                *names, answer = line.split(",")
                call = ToolCall(*names, {})
                body = orjson.dumps({"error": "", "response": answer})
                batch.rows.append((call.key, *names, b"{}", body, "recorded", None))
                batch.fingerprint.add_responses("recorded", [(call.key, body)])
        await importer.add_responses(batch)
        return True


async def test_a_format_is_one_row_of_the_table(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a row in the table a folder in a new format is found and imported, beside what else it holds."""
    row = ImportFormat(("*.csv",), frozenset(), CsvFolder.find)
    monkeypatch.setattr(release, "IMPORT_FORMATS", (*release.IMPORT_FORMATS, row))
    small_release.write_tools(tmp_path)
    (tmp_path / "weather.csv").write_text("Weather,sky_watch,current,sunny")

    result = await imported(sqlite_store, tmp_path)

    assert (result.tools.added, result.responses.added) == (2, 1)
    assert await check_responses(sqlite_store, await sqlite_store.datasets.get("d")) == []


async def test_queries_alone_bring_the_documents_of_their_tools(store: Store, tmp_path: Path) -> None:
    """Without ``tools/``, documents are made of what the queries embed."""
    small_release.write_queries(tmp_path)

    found = await imported(store, tmp_path)

    assert (found.tools.found, found.apis.found) == (2, 3)
    dataset = await store.datasets.get("d")
    document = await store.datasets.api(dataset.id, ApiRef("Weather", "sky_watch", "current"))
    assert document is not None
    assert (document.description, document.required_parameters[0].default) == ("About Current.", "Oslo")
    assert await check_contents(store, dataset) == []


async def test_queries_that_come_later_extend_derived_documents(sqlite_store: Store, tmp_path: Path) -> None:
    """Groups imported one by one make the same documents as all at once, whichever comes first."""
    for name, groups in (("both", "ab"), ("a", "a"), ("b", "b")):
        for group in groups:
            apis = (CURRENT,) if group == "a" else (small_release.FORECAST,)
            write(
                tmp_path / name / "solvable_queries" / "test_instruction" / f"{group}.json", [query(1, *apis)]
            )

    await imported(sqlite_store, tmp_path / "both", "at once")
    for name, order in (("one way", "ab"), ("other way", "ba")):
        for group in order:
            await imported(sqlite_store, tmp_path / group, name)

    assert len({dataset.content_hash for dataset in await sqlite_store.datasets.all()}) == 1


async def test_a_shorter_document_drops_apis(store: Store, tmp_path: Path) -> None:
    """A tool that is imported again has the APIs of its new document, no more."""
    small_release.write_tools(tmp_path)
    await imported(store, tmp_path)
    write(
        tmp_path / "tools" / "Weather" / "sky_watch.json",
        {"tool_name": "Sky Watch", "api_list": [small_release.api("Current")]},
    )

    found = await imported(store, tmp_path)

    assert (found.tools.changed, found.apis.changed) == (1, 0)
    assert (await store.datasets.counts((await store.datasets.get("d")).id))["apis"] == 2


async def test_two_keys_of_one_call_are_one_response(store: Store, tmp_path: Path) -> None:
    """The first in the file wins; whether the other agreed is said."""
    entries = {
        "{'a': 1, 'b': 2}": ANSWER,
        "{'b': 2, 'a': 1}": ANSWER,
        "{'c': 1}": ANSWER,
        "{ 'c': 1 }": {"error": "", "response": "rain"},
    }
    found = await imported(store, write_entries(tmp_path, entries))

    file = "tool_response_cache/Weather/sky_watch_for_Weather/current.json"
    assert found.conflicts == [
        Conflict(file, "{'a': 1, 'b': 2}", "{'b': 2, 'a': 1}", agree=True),
        Conflict(file, "{'c': 1}", "{ 'c': 1 }", agree=False),
    ]
    assert (found.responses.found, found.skipped) == (2, [])
    assert (await bodies(store))['{"c":1}'] == b'{"error":"","response":"sunny"}'


async def test_two_files_of_one_api_are_one(sqlite_store: Store, tmp_path: Path) -> None:
    """Folders whose names have the same standard form hold the responses of one API."""
    write(cache_file(tmp_path, "Weather", "Sky Watch", "Current"), {"{'a': 1}": ANSWER, "{'b': 1}": ANSWER})
    write(cache_file(tmp_path, "Weather", "sky_watch", "current"), {"{'a':1}": ANSWER})

    found = await imported(sqlite_store, tmp_path)

    assert (found.responses.found, len(found.conflicts)) == (2, 1)
    assert set(await bodies(sqlite_store)) == {'{"a":1}', '{"b":1}'}


async def test_an_answer_that_is_there_stays(store: Store, tmp_path: Path) -> None:
    """A release that answers a known call otherwise does not change it, and the conflict is listed."""
    await imported(store, write_entries(tmp_path / "1", {"{'a': 1}": ANSWER}))

    found = await imported(
        store, write_entries(tmp_path / "2", {"{'a': 1}": {"error": "x", "response": ""}, "{}": ANSWER})
    )

    kept = "what d holds already (recorded)"
    assert found.conflicts == [Conflict("Weather/sky_watch/current", kept, '{"a":1}', agree=False)]
    assert found.responses.added == 1
    assert await bodies(store) == {'{"a":1}': orjson.dumps(ANSWER), "{}": orjson.dumps(ANSWER)}


EXACT = [
    (
        '{"error": "", "response": {"n": 12345678901234567890123}}',
        b'{"error":"","response":{"n":12345678901234567890123}}',
    ),
    ('{"error": "", "response": 18446744073709551615}', b'{"error":"","response":18446744073709551615}'),
    (
        '{"error": "", "response": [1.10, 1E5, -0.0, null, true]}',
        b'{"error":"","response":[1.1,100000.0,-0.0,null,true]}',
    ),
    ('{"response": "first", "error": "second"}', b'{"response":"first","error":"second"}'),
    ('{"error": "", "response": "\\u00e9\\n\\u0000 é"}', '{"error":"","response":"é\\n\\u0000 é"}'.encode()),
    ('{"error": "", "response": "x", "more": [{}]}', b'{"error":"","response":"x","more":[{}]}'),
    (
        '{"error": "", "response": ' + "[" * 300 + "]" * 300 + "}",
        b'{"error":"","response":' + b"[" * 300 + b"]" * 300 + b"}",
    ),
]


@pytest.mark.parametrize(("text", "body"), EXACT)
async def test_bodies_are_kept_exactly(sqlite_store: Store, tmp_path: Path, text: str, body: bytes) -> None:
    """Compact JSON with the fields in their order and every value as it was, whatever stands beside it."""
    write(
        cache_file(tmp_path, "Weather", "sky_watch", "current"),
        f'{{"{{}}": {text}, "{{\'n\': 1}}": {json.dumps(ANSWER)}}}'.encode(),
    )

    found = await imported(sqlite_store, tmp_path)

    assert found.skipped == []
    assert (await bodies(sqlite_store))["{}"] == body


async def test_keys_keep_long_integers(sqlite_store: Store, tmp_path: Path) -> None:
    """A call with an integer beyond 64 bits has the key that a live call has."""
    await imported(sqlite_store, write_entries(tmp_path, {"{'n': 12345678901234567890123}": ANSWER}))

    call = ToolCall("Weather", "sky_watch", "current", parse_arguments('{"n": 12345678901234567890123}'))
    assert await sqlite_store.responses.get((await sqlite_store.datasets.get("d")).id, call.key)


BAD_ENTRIES: list[tuple[str, str, str | None]] = [
    ("{}", '{"error": "", "response": NaN}', "entry {}: holds NaN or an infinity, which JSON cannot carry"),
    ("{}", '{"error": "", "response": 1e400}', "entry {}: holds NaN or an infinity, which JSON cannot carry"),
    (
        "{}",
        '{"error": "", "response": "\\ud800"}',
        "entry {}: holds half of a surrogate pair, which is not text",
    ),
    ("{}", '"text"', "entry {}: the answer is not an object with error and response"),
    ("{}", '{"error": ""}', "entry {}: the answer has no response"),
    ("{'a': f()}", json.dumps(ANSWER), "entry {'a': f()}: the key is not a dict in Python's notation"),
    ("[1]", json.dumps(ANSWER), "entry [1]: the key is not a dict but a list"),
    (
        "{1: 2}",
        json.dumps(ANSWER),
        "entry {1: 2}: A name in the arguments is not a string, which JSON does not allow",
    ),
    ("{'a': 1e400}", json.dumps(ANSWER), None),
]


@pytest.mark.parametrize(("key", "value", "reason"), BAD_ENTRIES)
async def test_a_bad_entry_is_skipped_alone(
    sqlite_store: Store, tmp_path: Path, key: str, value: str, reason: str | None
) -> None:
    """An entry that cannot be kept is named with its reason; its neighbours are kept."""
    text = f"{{{json.dumps(key)}: {value}, \"{{'good': 1}}\": {json.dumps(ANSWER)}}}"
    write(cache_file(tmp_path, "Weather", "sky_watch", "current"), text.encode())

    found = await imported(sqlite_store, tmp_path)

    ((file, why),) = found.skipped
    assert file == "tool_response_cache/Weather/sky_watch_for_Weather/current.json"
    assert reason in {None, why}
    assert set(await bodies(sqlite_store)) == {'{"good":1}'}


BAD_FILES: list[tuple[str, bytes, str | None]] = [
    ("tools/Weather/a.json", b"", "is empty"),
    ("tools/Weather/a.json", b'{"tool_name": "A"', "is not JSON: Expecting ',' delimiter at line 1, column 18"),
    ("tools/Weather/a.json", b"\xff\xfe{}", None),
    ("tools/Weather/a.json", b"[]", "is not a tool document: not an object"),
    ("tools/Weather/a.json", b'{"api_list": []}', "is not a tool document: tool_name: Field required"),
    ("tools/Weather/a.json", b'{"tool_name": 5}', "is not a tool document: tool_name: Input should be a valid string"),
    ("tools/Weather/a.json", b'{"tool_name": "A", "api_list": [{}]}', "is not a tool document: api_list.0.name: Field required"),
    ("tools/Weather/a.json", b'{"tool_name": "!"}', "the tool name has no letter or digit that a standard name may have"),
    ("tools/Weather/a.json", b'{"tool_name": "A\\u0000"}', "its name or description holds a NUL character"),
    ("tools/Weather/a.json", b'{"tool_name": "A", "x": NaN}', None),
    ("tools/Weather/a.json", b'{"tool_name": "A", "x": ' + b"[" * 99 + b"]" * 99 + b"}", None),
    ("tools/Weather/a.json", b'{"tool_name": "A", "x": ' + b"[" * 99999 + b"]" * 99999 + b"}", "is nested too deeply"),
    ("solvable_queries/test_instruction/G.json", b"{}", "is not a list of queries"),
    ("solvable_queries/test_instruction/G.json", b"[5]", "entry 0: is not an object"),
    ("solvable_queries/test_instruction/G.json", b'[{"query_id": true}]', "entry 0: has no number or text under query_id"),
    ("solvable_queries/test_instruction/G.json", b'[{"query_id": 1}]', "entry 0: has no text under query"),
    ("solvable_queries/test_instruction/G.json", b'[{"query_id": 1, "query": "\\ud800"}]', "entry 0: has no text under query"),
    ("solvable_queries/test_instruction/G.json", b'[{"query_id": 1, "query": "?"}]', "entry 0: has no list under api_list"),
    (
        "solvable_queries/test_instruction/G.json",
        b'[{"query_id": 1, "query": "?", "api_list": [{}]}]',
        "entry 0: an entry of api_list lacks category_name, tool_name or api_name",
    ),
    (
        "solvable_queries/test_instruction/G.json",
        b'[{"query_id": 1, "query": "?", "api_list": [], "relevant APIs": ["x"]}]',
        "entry 0: relevant APIs is not a list of tool and API names",
    ),
    ("solvable_queries/test_query_ids/G1_tool.json", b"5", "is not a list of query ids, or an object named by them; the group G1_tool is left out"),
    ("tool_response_cache/Weather/x_for_Weather/y.json", b"[]", "is not an object from calls to answers"),
    ("tool_response_cache/Weather/x_for_Weather/y.json", b"{", "is not JSON: Expecting property name enclosed in double quotes at line 1, column 2"),
    ("tool_response_cache/Weather/!_for_Weather/y.json", b"{}", "the tool name has no letter or digit that a standard name may have"),
    ("tool_response_cache/Weather/x_for_Weather/!.json", b"{}", "the API name has no letter or digit that a standard name may have"),
    ("tool_response_cache/We\\ather/x/y.json", b"{}", "the category name cannot be the name of a folder"),
    ("tool_response_cache/We\nather/x/y.json", b"{}", "the category name cannot be the name of a folder"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "content", "reason"), BAD_FILES)
async def test_a_broken_file_is_named_and_the_rest_imported(
    sqlite_store: Store, tmp_path: Path, file: str, content: bytes, reason: str | None
) -> None:
    """A file that cannot be used is skipped with its reason, and all others are imported."""
    small_release.write_release(tmp_path)
    write(tmp_path / file, content)

    found = await imported(sqlite_store, tmp_path)

    ((name, why),) = found.skipped
    assert name == file
    assert reason in {None, why}
    left_out = 2 if "test_query_ids" in file else 0
    assert (found.tools.found, found.queries.found - ("relevant API 'a'" in why)) == (2, 3 - left_out)
    assert found.responses.found == 3


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3)
    ),
    max_leaves=8,
)
# Values in the places where a reader looks for them, and anything at all.
members = json_values | st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("name", "tool_name", "category_name", "api_name", "query", "query_id"), json_values),
        **{
            name: st.lists(json_values, max_size=2)
            for name in ("api_list", "relevant APIs", "required_parameters")
        },
        **dict.fromkeys(("error", "response", "tool_description", "template_response"), json_values),
    },
)
contents = st.one_of(
    st.binary(max_size=40),
    members.map(lambda value: json.dumps(value).encode()),
    st.lists(members, max_size=3).map(lambda value: json.dumps(value).encode()),
    st.dictionaries(st.text(max_size=8) | json_values.map(str), members, max_size=3).map(
        lambda value: json.dumps(value).encode()
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(contents)
def test_no_content_of_a_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    """Whatever stands in a file, it is read or skipped."""
    write(tmp_path / "tools" / "Weather" / "a.json", content)
    write(tmp_path / "solvable_queries" / "test_instruction" / "G.json", content)
    write(tmp_path / "solvable_queries" / "test_instruction" / "H.json", b"[]")
    write(tmp_path / "solvable_queries" / "test_query_ids" / "H.json", content)
    write(cache_file(tmp_path, "Weather", "a", "b"), content)
    folder = ReleaseFolder(tmp_path)
    official = OfficialRelease.find(folder, folder.children(tmp_path))
    assert official

    tools, _ = read_tools(folder, official.tool_files())
    queries = read_queries(folder, official.query_files())
    derived, _ = derive_tools(queries.embedded, {})
    read = read_response_files(official.response_files())

    contents_hash(
        [*tools.values(), *derived.values()], [q for group in queries.groups.values() for q in group]
    )
    assert all(response_problem(Recording(*row)) == "" for row in read.rows)


async def test_an_unreadable_file_is_named(sqlite_store: Store, tmp_path: Path) -> None:
    """A folder in the place of a file, a pipe and a file without a name are no reason to stop."""
    small_release.write_release(tmp_path)
    (tmp_path / "tools" / "Weather" / "folder.json").mkdir()
    (tmp_path / "tools" / "Weather" / ".hidden.json").write_text("{")
    (tmp_path / "tools" / "README.md").write_text("hello")

    found = await imported(sqlite_store, tmp_path)

    assert (found.tools.found, found.skipped) == (2, [])


async def test_queries_that_the_ids_name_but_nobody_has_are_reported(
    sqlite_store: Store, tmp_path: Path
) -> None:
    """A group that is smaller than its list of ids is not passed over in silence."""
    small_release.write_release(tmp_path)
    write(tmp_path / "solvable_queries" / "test_query_ids" / "G1_tool.json", [7, 9, 10, "x"])

    found = await imported(sqlite_store, tmp_path)

    reason = "lacks 2 of the queries that test_query_ids names: 10, x"
    assert found.gaps == [Gap("solvable_queries/test_instruction/G1_tool.json", reason)]
    assert found.queries.found == 3


async def test_an_api_without_a_standard_name_is_left_out_alone(sqlite_store: Store, tmp_path: Path) -> None:
    """Its tool is imported with its other APIs; of two APIs with one name the first counts."""
    apis = [small_release.api("Current"), small_release.api("!"), small_release.api("current")]
    write(tmp_path / "tools" / "Weather" / "a.json", {"tool_name": "A", "api_list": apis})

    found = await imported(sqlite_store, tmp_path)

    reason = "API '!': the API name has no letter or digit that a standard name may have"
    assert found.skipped == [SkippedFile("tools/Weather/a.json", reason)]
    assert found.conflicts == [Conflict("tools/Weather/a.json", "Current", "current", agree=False)]
    assert found.apis.found == 1


async def test_links_that_lead_out_are_not_followed(sqlite_store: Store, tmp_path: Path) -> None:
    """What lies outside the release is not read, whether a file, a folder or a part is a link to it."""
    outside = small_release.write_release(tmp_path / "outside")
    inside = tmp_path / "inside"
    write(inside / "tools" / "Weather" / "own.json", {"tool_name": "Own"})
    (inside / "tools" / "Weather" / "file.json").symlink_to(outside / "tools" / "Weather" / "sky_watch.json")
    (inside / "tools" / "Weather" / "again.json").symlink_to("own.json")
    (inside / "tools" / "Other").symlink_to(outside / "tools" / "Weather")
    (inside / "tools" / "Loop").symlink_to(inside / "tools" / "Loop")
    (inside / "tool_response_cache").symlink_to(outside / "tool_response_cache")

    found = await imported(sqlite_store, inside)

    names = ["tool_response_cache", "tools/Loop", "tools/Other", "tools/Weather/file.json"]
    assert found.skipped == [SkippedFile(name, "is a link that leads out of the release") for name in names]
    assert (found.tools.found, found.responses.found) == (1, 0)


def test_a_path_that_is_not_a_release_is_refused(tmp_path: Path) -> None:
    """Nothing there, a file, a folder of something else: one line each, and what to do."""
    (tmp_path / "file").write_text("")
    (tmp_path / "other" / "docs").mkdir(parents=True)
    (tmp_path / "other" / "log.jsonl").write_text('{"format": "something"}\n')

    said = []
    for name in ("nowhere", "file", "other"):
        with pytest.raises(UsageError) as problem:
            find_release(Path(tmp_path / name))
        said.append(str(problem.value).replace(str(tmp_path), "…"))

    assert said == [
        "There is no folder …/nowhere. Check the path.",
        "…/file is not a folder. Name the folder of a release; for a dump use: stb cache load FILE; for a bundle: stb import FILE.",
        (
            "…/other is not a release: it holds no tools/, solvable_queries/, tool_response_cache/ or dump. "
            "Name the folder that holds them, or one of them."
        ),
    ]


async def test_an_empty_release_makes_no_dataset(sqlite_store: Store, tmp_path: Path) -> None:
    """Folders without a file are refused; files that are all broken are named; neither leaves a dataset."""
    (tmp_path / "empty" / "tools").mkdir(parents=True)
    write(tmp_path / "broken" / "tools" / "Weather" / "a.json", b"{")

    with pytest.raises(UsageError, match=r"There is nothing to import in .*/empty"):
        await imported(sqlite_store, tmp_path / "empty")
    found = await imported(sqlite_store, tmp_path / "broken")

    assert len(found.skipped) == 1
    assert await sqlite_store.datasets.all() == []


async def test_processes_read_the_same_as_one(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release that is big enough is read by several processes, and nothing else differs."""
    for number in range(12):
        name = f"api_{number}"
        entries = {f"{{'n': {n}, 'é': {n / 2}}}": {"error": "", "response": "x" * n} for n in range(50)}
        write(
            cache_file(tmp_path, "Data", "many", name), entries | {"{'n':0, 'é': 0.0}": ANSWER, "bad": ANSWER}
        )
    alone = await imported(sqlite_store, tmp_path, "alone")
    monkeypatch.setattr(parallel_reading, "_WORTH_PROCESSES", 0)
    monkeypatch.setattr(parallel_reading, "_BATCH_BYTES", 5_000)
    monkeypatch.setattr(parallel_reading.os, "cpu_count", lambda: 3)

    together = await imported(sqlite_store, tmp_path, "together")

    assert (alone.responses, alone.skipped, alone.conflicts) == (
        together.responses,
        together.skipped,
        together.conflicts,
    )
    one, other = await sqlite_store.datasets.get("alone"), await sqlite_store.datasets.get("together")
    assert (one.responses_hash, one.responses_count) == (other.responses_hash, 600)


async def test_a_killed_reader_is_reported(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a process that reads is killed, the import says so instead of waiting for ever."""
    small_release.write_release(tmp_path)
    killed = functools.partial(signal.raise_signal, signal.SIGKILL)
    monkeypatch.setattr(parallel_reading, "_WORTH_PROCESSES", 0)
    monkeypatch.setattr(parallel_reading.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(parallel_reading, "_set_up_worker", killed)

    with pytest.raises(StbError, match="A process that read recorded responses was killed"):
        await imported(sqlite_store, tmp_path)


async def test_readers_end_with_a_killed_import(tmp_path: Path) -> None:
    """The processes that read end when the import that started them is killed."""
    small_release.write_release(tmp_path)
    program = """
import asyncio, pathlib, sys
from stb_server.datasets import parallel_reading, release
from stb_server.datasets.official_release import OfficialRelease
from stb_server.datasets.release_folder import ReleaseFolder

async def read():
    folder = ReleaseFolder(pathlib.Path(sys.argv[1]))
    release = OfficialRelease.find(folder, folder.children(folder.root))
    async for _ in parallel_reading.read_in_batches(release.response_files()):
        print("read", flush=True)
        await asyncio.sleep(60)

if __name__ == "__main__":
    parallel_reading._WORTH_PROCESSES = 0
    parallel_reading.os.cpu_count = lambda: 2
    asyncio.run(read())
"""
    script = tmp_path / "reader.py"
    script.write_text(program)
    process = await asyncio.create_subprocess_exec(sys.executable, script, tmp_path, stdout=-1)
    assert process.stdout
    await process.stdout.readline()

    process.kill()
    await process.wait()

    async with asyncio.timeout(30):
        assert await process.stdout.read() == b""  # ends when no process has it open


async def test_an_import_that_was_killed_goes_on(tmp_path: Path, sqlite_store_url: str) -> None:
    """SIGKILL in the middle leaves whole batches; the same import again completes them."""
    release, responses = tmp_path / "release", 12_000
    for number in range(12):
        entries = {f"{{'n': {n}}}": {"error": "", "response": "x" * 500} for n in range(responses // 12)}
        write(cache_file(release, "Data", "many", f"api_{number}"), entries)
    command = ("-m", "stb_core.cli", "data", "import", str(release), "--name", "d")
    env = {"STB_DATABASE_URL": sqlite_store_url, "PATH": ""}
    for seconds in (1.5, 2.0, 2.5):
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, env=env, stdout=-3, stderr=-3
        )
        await asyncio.sleep(seconds)
        if process.returncode is None:
            process.kill()
        await process.wait()

    store = await open_store(sqlite_store_url)
    there = await store.datasets.all()
    problems = [problem for dataset in there for problem in await check_responses(store, dataset)]
    found = await imported(store, release)
    after = await store.datasets.get("d")
    problems += await check_responses(store, after)
    await store.close()

    assert problems == []
    assert (found.responses.found, after.responses_count) == (responses, responses)


@pytest.fixture(scope="module")
def real_store_url(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The recorded release in an SQLite store, as ``real``."""
    url = f"sqlite:///{tmp_path_factory.mktemp('real') / 'store.db'}"

    async def fill() -> None:
        store = await open_store(url)
        await imported(store, real_data / "release", "real")
        await store.close()

    asyncio.run(fill())
    return url


async def test_the_recorded_release_is_imported_whole(real_store_url: str, real_data: Path) -> None:
    """1,042 tools, 2,813 APIs, 765 queries, and 2,478 entries that are 2,467 calls; nothing is skipped."""
    store = await open_store(real_store_url)

    found = await imported(store, real_data / "release", "real")
    dataset = await store.datasets.get("real")
    problems = await check_contents(store, dataset) + await check_responses(store, dataset)
    await store.close()

    assert {name: part.found for name, part in found.parts.items()} == {
        "tools": 1042,
        "apis": 2813,
        "queries": 765,
        "responses": 2467,
    }
    assert (found.is_change, found.skipped, len(found.conflicts), problems) == (False, [], 11, [])


async def test_every_recorded_call_finds_its_recording(real_store_url: str, real_data: Path) -> None:
    """Each call that agents made is of a known API, and has a recording exactly when the release says so."""
    store = await open_store(real_store_url)
    dataset = await store.datasets.get("real")
    catalogue = await Catalogue.load(store, dataset)
    calls = [json.loads(line) for line in (real_data / "tool_calls.jsonl").read_text().splitlines()]
    recorded = await _all_responses(store, dataset)
    await store.close()

    wrong = []
    for call in calls:
        ref = catalogue.resolve(call["category"], call["tool_name"], call["api_name"])
        assert isinstance(ref, ApiRef), ref
        if (ToolCall(*ref, parse_arguments(call["tool_input"])).key in recorded) < call["in_cache"]:
            wrong.append(call)

    assert (len(calls), wrong) == (11_647, [])


async def test_queries_of_the_recorded_release_describe_their_tools(
    sqlite_store: Store, real_data: Path, tmp_path: Path
) -> None:
    """Without ``tools/`` the 765 queries bring 814 tools with 2,490 APIs."""
    shutil.copytree(real_data / "release" / "solvable_queries", tmp_path / "solvable_queries")

    found = await imported(sqlite_store, tmp_path)

    assert (found.tools.found, found.apis.found, found.queries.found) == (814, 2490, 765)
    assert await check_contents(sqlite_store, await sqlite_store.datasets.get("d")) == []


async def _all_responses(store: Store, dataset: Dataset) -> dict[str, Response]:
    found: dict[str, Response] = {}
    for ref in await store.responses.api_refs(dataset.id):
        found |= {response.key: response for response in await store.responses.of_api(dataset.id, *ref)}
    return found


def test_the_dataset_of_a_missing_folder_is_not_found(tmp_path: Path) -> None:
    """A path that is not there is an error of its own kind."""
    with pytest.raises(NotFoundError):
        find_release(tmp_path / "nowhere")
