"""Documents of tools come from files and queries, and what is in only one of them counts as well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from small_release import ANSWER, api, cache_file, query, write
from stb_core.store import Store
from stb_core.values.tools import ToolDocument
from stb_server.datasets.import_report import Conflict, Gap
from stb_server.datasets.importing import DatasetImport
from stb_server.datasets.integrity import check_contents
from stb_server.datasets.release import find_release, import_release

OLD = ("Weather", "Sky Watch", "Old Forecast")
CURRENT = ("Weather", "Sky Watch", "Current")


async def imported(store: Store, path: Path, name: str = "d") -> DatasetImport:
    return await import_release(store, find_release(path), name, advance=lambda *_: None)


async def tool_of(store: Store, name: str = "d") -> ToolDocument:
    (tool,) = await store.datasets.tools((await store.datasets.get(name)).id)
    return tool


def write_tool(root: Path, *names: str, file: str = "sky_watch", **more: Any) -> None:
    document = {"tool_name": "Sky Watch", "api_list": [api(name) for name in names], **more}
    write(root / "tools" / "Weather" / f"{file}.json", document)


def write_queries(root: Path, *queries: dict[str, Any]) -> None:
    write(root / "solvable_queries" / "test_instruction" / "G1_tool.json", list(queries))


@pytest.mark.parametrize("order", [("tools", "queries"), ("queries", "tools")])
async def test_an_api_that_only_a_query_documents(
    store: Store, tmp_path: Path, order: tuple[str, ...]
) -> None:
    """It stands behind the APIs of the tool's own document, in whatever order the parts come, and once."""
    writers: dict[str, Callable[[Path], None]] = {
        "tools": lambda root: write_tool(root, "Current"),
        "queries": lambda root: write_queries(root, query(1, CURRENT, OLD)),
    }
    for part in ("tools", "queries"):
        writers[part](tmp_path / "whole")
        writers[part](tmp_path / f"only {part}")

    await imported(store, tmp_path / "whole", "whole")
    for part in order:
        await imported(store, tmp_path / f"only {part}")
    again = await imported(store, tmp_path / "whole")

    dataset, whole = await store.datasets.get("d"), await store.datasets.get("whole")
    assert ["Current", "Old Forecast"] == [one.name for one in (await tool_of(store)).api_list]
    assert dataset.content_hash == whole.content_hash
    assert not again.is_change
    assert [] == await check_contents(store, dataset)


async def test_a_tools_own_document_of_an_api_counts(sqlite_store: Store, tmp_path: Path) -> None:
    """Once the tool's file has the API, what a query said about it is gone."""
    write_tool(tmp_path, "Current")
    write_queries(tmp_path, query(1, OLD))
    await imported(sqlite_store, tmp_path)
    write_tool(tmp_path, "Old Forecast", "Current")

    await imported(sqlite_store, tmp_path)

    tool = await tool_of(sqlite_store)
    assert ["Old Forecast", "Current"] == [one.name for one in tool.api_list]
    assert [None, None] == [one.model_extra or None for one in tool.api_list]


async def test_two_files_of_one_tool_are_merged_by_api(sqlite_store: Store, tmp_path: Path) -> None:
    """Each gives the APIs that the other lacks; what they say differently about one thing is named."""
    write_tool(tmp_path, "Current", "Rain", file="a")
    write_tool(tmp_path, "Rain", "Wind", file="b", tool_description="Other words.")
    differing = {**api("Current"), "description": "Other words."}
    write(
        tmp_path / "tools" / "Weather" / "c.json",
        {"tool_name": "SKY watch!", "api_list": [differing, api("Snow")]},
    )

    found = await imported(sqlite_store, tmp_path)

    a, b, c = (f"tools/Weather/{name}.json" for name in "abc")
    assert ["Current", "Rain", "Wind", "Snow"] == [one.name for one in (await tool_of(sqlite_store)).api_list]
    assert "About Current." == (await tool_of(sqlite_store)).api_list[0].description
    assert [
        Conflict(b, f"{a}: name and description", b, agree=False),
        Conflict(b, f"{a}: API Rain", "API Rain", agree=True),
        Conflict(c, f"{a}: name and description", c, agree=False),
        Conflict(c, f"{a}: API Current", "API Current", agree=False),
    ] == found.conflicts


def test_a_query_that_is_imported_is_not_called_skipped(
    tmp_path: Path, stb: Callable[..., CompletedProcess[str]]
) -> None:
    """A relevant API that its list lacks is a gap, and so is a query that only the list of ids knows; exit code 1."""
    write_tool(tmp_path, "Current")
    write_queries(tmp_path, {**query(1, CURRENT), "relevant APIs": [["Sky Watch", "Nowhere"]]})

    ended = stb("data", "import", tmp_path, "--name", "d")

    words = " ".join(ended.stdout.split())
    assert 1 == ended.returncode
    assert "Imported with gaps: 1" in words
    assert "skipped" not in (words + ended.stderr).lower()
    assert "All is imported, but parts are missing." in " ".join(ended.stderr.split())


async def test_a_gap_is_listed_with_its_query(sqlite_store: Store, tmp_path: Path) -> None:
    """The query is there, without the relevant API."""
    write_tool(tmp_path, "Current")
    write_queries(tmp_path, {**query(1, CURRENT), "relevant APIs": [["Sky Watch", "Nowhere"]]})

    found = await imported(sqlite_store, tmp_path)

    reason = "query 1 is imported without its relevant API 'Nowhere', which is not in its api_list"
    assert [Gap("solvable_queries/test_instruction/G1_tool.json", reason)] == found.gaps
    assert ([], 1) == (found.skipped, found.queries.added)


async def test_a_text_that_stands_twice_in_a_file(sqlite_store: Store, tmp_path: Path) -> None:
    """JSON readers hide the first entry of an object that has a name twice; the import names it."""
    file = cache_file(tmp_path, "Weather", "sky_watch", "current")
    rain = b'{"error":"","response":{"response":"rain"}}'
    write(
        file,
        b"{\"{'a': 1}\": %b, \"{'b': 1}\": %b, \"{'a': 1}\": %b}"
        % (rain, rain, b'{"error":"","response":"sun"}'),
    )

    found = await imported(sqlite_store, tmp_path)

    kept, hidden = "{'a': 1} (the last time)", "{'a': 1} (before)"
    assert [
        Conflict("tool_response_cache/Weather/sky_watch_for_Weather/current.json", kept, hidden, agree=False)
    ] == (found.conflicts)
    dataset = await sqlite_store.datasets.get("d")
    responses = await sqlite_store.responses.of_api(dataset.id, "Weather", "sky_watch", "current")
    assert {b'{"a":1}': b'{"error":"","response":"sun"}', b'{"b":1}': rain} == {
        one.arguments: one.body for one in responses
    }


async def test_members_within_an_answer_are_no_repeated_entries(sqlite_store: Store, tmp_path: Path) -> None:
    """Answers may hold what they like."""
    nested = {"error": "", "response": {"response": 1, "error": {"response": 2}}}
    write(cache_file(tmp_path, "Weather", "sky_watch", "current"), {"{'a': 1}": nested, "{'b': 1}": ANSWER})

    found = await imported(sqlite_store, tmp_path)

    assert ([], 2) == (found.conflicts, found.responses.added)


async def test_a_deep_answer_is_skipped_alone(sqlite_store: Store, tmp_path: Path) -> None:
    """Also where names have to be counted, which takes another reader; the other entries are taken."""
    deep = b"[" * 1000 + b'{"response":1}' + b"]" * 1000
    write(
        cache_file(tmp_path, "Weather", "sky_watch", "current"),
        b'{"{\'a\': 1}": {"error":"","response":%b}, "{\'b\': 1}": {"error":"","response":"sun"}}' % deep,
    )

    await imported(sqlite_store, tmp_path)

    dataset = await sqlite_store.datasets.get("d")
    responses = await sqlite_store.responses.of_api(dataset.id, "Weather", "sky_watch", "current")
    assert [b'{"b":1}'] == [one.arguments for one in responses]
