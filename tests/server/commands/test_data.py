"""``stb data`` says in one manner what it did, and in one line what it could not do."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

import services
import small_release
from command_line import Ended
from conftest import REPOSITORY, unavailable
from small_release import write
from stb_core.cli import store as command_store
from stb_core.errors import StoreUnreachableError
from stb_core.store import Store, open_store

Stb = Callable[..., Ended]
GOLDEN = REPOSITORY / "tests" / "golden" / "0.1.0.dev0"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A small release."""
    return small_release.write_release(tmp_path / "spring")


def execute(url: str, statement: str) -> None:
    """Change a store behind its back."""

    async def run() -> None:
        store = await open_store(url)
        async with store.writing() as connection:
            await connection.exec_driver_sql(statement)
        await store.close()

    asyncio.run(run())


def test_an_import_says_what_it_found(in_process: Stb, release: Path) -> None:
    """Counts of what the release holds and of what that changed, as a table and as JSON."""
    ended = in_process("data", "import", release)
    again = in_process("data", "import", release, "--name", "spring", "--json")

    lines = [line.split() for line in ended.out.splitlines()]
    assert ["responses", "3", "3", "0"] in lines
    assert ended.out.rstrip().endswith("Imported into spring.")
    assert (ended.code, again.code) == (0, 0)
    assert again.document == {
        "dataset": "spring",
        "changed": False,
        "tools": 2,
        "apis": 3,
        "queries": 3,
        "responses": 3,
        "skipped": 0,
        "conflicts": 0,
        "rows": [
            {"part": "tools", "found": 2, "added": 0, "changed": 0},
            {"part": "apis", "found": 3, "added": 0, "changed": 0},
            {"part": "queries", "found": 3, "added": 0, "changed": 0},
            {"part": "responses", "found": 3, "added": 0, "changed": 0},
        ],
        "skipped_rows": [],
        "gaps": 0,
        "gap_rows": [],
        "conflict_rows": [],
    }


def test_an_import_without_news_says_so(in_process: Stb, release: Path) -> None:
    """The second import of a release says that nothing changed."""
    in_process("data", "import", release)

    ended = in_process("data", "import", release)

    assert ended.code == 0
    assert ended.out.rstrip().endswith("Nothing changed: spring already has all of it.")


def test_an_import_of_nothing_but_broken_files_says_so(in_process: Stb, tmp_path: Path) -> None:
    """No dataset is made."""
    write(tmp_path / "broken" / "tools" / "Weather" / "torn.json", b"{")

    ended = in_process("data", "import", "broken")

    assert ended.code == 1
    assert ended.out.rstrip().endswith("Nothing was imported.")
    assert in_process("data", "ls", "--json").document == {"rows": []}


def test_what_is_skipped_makes_the_import_incomplete(in_process: Stb, release: Path) -> None:
    """A broken file is named in table and JSON, the rest is imported, and the exit code is 1."""
    write(release / "tools" / "Weather" / "torn.json", b"{")

    ended = in_process("data", "import", release)
    again = in_process("data", "import", release, "--json")

    assert (ended.code, again.code) == (1, 1)
    assert "tools/Weather/torn.json" in ended.out
    assert again.document["skipped"] == 1
    assert again.document["skipped_rows"][0]["file"] == "tools/Weather/torn.json"
    assert again.document["tools"] == 2


def test_a_bundle_is_imported_as_stb_import_does(in_process: Stb) -> None:
    """Under the name that is given; the same again adds nothing."""
    bundle = GOLDEN / "run.zip"

    (first,) = in_process("data", "import", bundle, "--name", "theirs", "--json").document["rows"]
    (again,) = in_process("import", bundle, "--name", "theirs", "--json").document["rows"]

    assert ("theirs", True) == (first["run"], first["new_queries"] == first["queries"] > 0)
    assert (first["queries"], 0, 0) == (again["queries"], again["new_queries"], again["new_verdicts"])


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("import", "nowhere"), "stb: There is no folder nowhere. Check the path."),
        (
            ("import", "other"),
            (
                "stb: other is not a release: it holds no tools/, solvable_queries/, "
                "tool_response_cache/ or dump. Name the folder that holds them, or one of them."
            ),
        ),
        (
            ("import", "other/file"),
            "stb: other/file is not a folder. Name the folder of a release; for a dump use: stb cache load FILE; for a bundle: stb import FILE.",
        ),
        (
            ("import", "spring", "--name", "a:b"),
            "stb: A dataset cannot be called 'a:b'. Choose a name of up to 200 letters, digits, '.', '_' and '-'.",
        ),
        (("import", "x" * 300), f"stb: There is no folder {'x' * 300}. Check the path."),
        (
            ("show", "spring"),
            "stb: There is no dataset 'spring'. Import one: stb data import PATH --name NAME.",
        ),
        (
            ("verify", "spring"),
            "stb: There is no dataset 'spring'. Import one: stb data import PATH --name NAME.",
        ),
        (
            ("rm", "spring"),
            "stb: There is no dataset 'spring'. Import one: stb data import PATH --name NAME.",
        ),
    ],
)
def test_bad_usage_is_one_line(
    in_process: Stb, release: Path, tmp_path: Path, args: tuple[str, ...], said: str
) -> None:
    """What is wrong and what to do, exit code 2, and nothing on stdout."""
    write(tmp_path / "other" / "file", b"")

    ended = in_process("data", *args)

    assert (2, said) == ended.said
    assert ended.out == ""
    assert ended.err.count("\n") == 1


def test_datasets_are_listed(in_process: Stb, release: Path) -> None:
    """An empty store says how to fill it; then each dataset is a row with its hashes."""
    empty = in_process("data", "ls")
    in_process("data", "import", release)

    listed = in_process("data", "ls", "--json").document["rows"]
    table = in_process("data", "ls")

    assert empty.said == (0, "There are no datasets yet. Import one: stb data import PATH --name NAME.")
    assert [(row["dataset"], row["tools"], row["responses"]) for row in listed] == [("spring", 2, 3)]
    assert len(listed[0]["content_hash"]) == len(listed[0]["responses_hash"]) == 64
    assert "spring" in table.out


def test_a_dataset_is_shown(in_process: Stb, release: Path) -> None:
    """Its counts, hashes, groups and origins."""
    in_process("data", "import", release)

    shown = in_process("data", "show", "spring", "--json").document
    text = in_process("data", "show", "spring")

    assert shown["rows"] == [{"group": "G1_tool", "queries": 2}, {"group": "G3_instruction", "queries": 1}]
    assert shown["provenance"] == {"recorded": 3}
    assert shown["content_hash"] in text.out


def test_a_whole_dataset_is_verified(in_process: Stb, release: Path) -> None:
    """It says what was checked."""
    in_process("data", "import", release)

    ended = in_process("data", "verify", "spring")

    assert ended.code == 0
    assert ended.out == "spring is complete: 2 tools, 3 APIs, 3 queries, 3 responses.\n"


@pytest.mark.parametrize(
    ("statement", "part", "problem"),
    [
        ("UPDATE tools SET document = '{\"tool_name\":\"Else\",\"category\":\"Weather\"}'", "dataset", "is "),
        ("DELETE FROM apis WHERE api = 'is_id'", "query", "no document describes its API Video_Images/get_123_clips/is_id"),
        ("UPDATE responses SET body = CAST('{\"error\":1,\"response\":2}' AS BLOB) WHERE id = 1", "dataset", "is "),
        ("UPDATE responses SET body = CAST('x' AS BLOB) WHERE id = 1", "response", "its body is not JSON"),
        ("UPDATE responses SET body = CAST('{}' AS BLOB) WHERE id = 1", "response", "its body is not an object with error and response"),
        ("UPDATE responses SET arguments = CAST('{\"x\":1}' AS BLOB) WHERE id = 1", "response", "its key is not that of its call"),
        ("UPDATE responses SET arguments = CAST('{\"x\": 1}' AS BLOB) WHERE id = 1", "response", "its arguments are not in canonical form"),
        ("UPDATE responses SET arguments = CAST('[' AS BLOB) WHERE id = 1", "response", "its arguments are not a JSON object"),
        ("DELETE FROM responses WHERE id = 1", "dataset", "are 2, but 3 are on record"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    in_process: Stb, release: Path, sqlite_store_url: str, statement: str, part: str, problem: str
) -> None:
    """Any change behind the store's back is found, and the exit code is 1."""
    in_process("data", "import", release)
    execute(sqlite_store_url, statement)

    ended = in_process("data", "verify", "spring", "--json")
    table = in_process("data", "verify", "spring")

    assert (ended.code, table.code) == (1, 1)
    assert not ended.document["ok"]
    assert any(row["part"] == part and row["problem"].startswith(problem) for row in ended.document["rows"])


def test_a_dataset_is_removed_only_when_it_is_meant(in_process: Stb, release: Path) -> None:
    """Without ``--yes`` it stays, and what would be lost is said."""
    in_process("data", "import", release)

    asked = in_process("data", "rm", "spring")
    ended = in_process("data", "rm", "spring", "--yes")

    assert asked.said == (2, "stb: This would delete spring with 3 responses. Add --yes to do it.")
    assert (ended.code, ended.out) == (0, "Deleted spring.\n")
    assert in_process("data", "ls", "--json").document == {"rows": []}


@pytest.mark.linux
def test_a_store_that_cannot_be_written_is_named(
    in_process: Stb, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, exit code 1."""
    monkeypatch.setenv("STB_DATABASE_URL", "sqlite:////proc/nowhere/store.db")

    code, line = in_process("data", "import", release).said

    assert code == 1
    assert line.startswith("stb: The store /proc/nowhere/store.db cannot be written")


def test_the_command_works_as_a_program(stb: Callable[..., object], release: Path) -> None:
    """In a process of its own, with stdout holding the JSON document alone."""
    ended = stb("data", "import", release, "--json")

    assert ended.returncode == 0  # type: ignore[attr-defined]
    assert '"responses": 3' in ended.stdout  # type: ignore[attr-defined]
    assert ended.stderr == ""  # type: ignore[attr-defined]


def test_an_import_waits_for_a_database_that_starts(
    in_process: Stb, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --wait it begins as soon as PostgreSQL can be reached; without, it fails at once."""
    if not services.Postgres.installed():
        unavailable("PostgreSQL")
    refused = 0
    with tempfile.TemporaryDirectory(prefix="stb-late-") as folder, services.Postgres(Path(folder)) as server:

        async def open_and_start(url: str) -> Store:
            """PostgreSQL starts after it could not be reached once."""
            nonlocal refused
            try:
                return await open_store(url)
            except StoreUnreachableError:
                refused += 1
                await asyncio.to_thread(server.start)
                raise

        monkeypatch.setenv("STB_DATABASE_URL", server.create_database("late"))
        server.stop()
        early = in_process("data", "import", release)
        monkeypatch.setattr(command_store, "open_store", open_and_start)
        late = in_process("data", "import", release, "--wait", "120")

    assert (1, True) == (early.code, "cannot be reached" in early.err)
    assert (0, True, 1) == (late.code, "Imported into spring." in late.out, refused), late.err
