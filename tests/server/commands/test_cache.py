"""``stb cache`` shows recorded responses, moves them, and changes them only when that is meant."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import small_release
from command_line import Ended
from stb_core.errors import UsageError
from stb_core.store import Store, open_store
from stb_core.store.misses import Miss
from stb_core.values.calls import ToolCall
from stb_core.values.provenance import Provenance
from stb_server.calls.nearest import argument_differences, describe_differences
from stb_server.commands.targets import time_before

Stb = Callable[..., Ended]
OSLO = ToolCall("Weather", "sky_watch", "current", {"city": "Oslo", "days": 3})


@pytest.fixture
def imported(in_process: Stb, tmp_path: Path) -> Stb:
    """The command line on a store that holds a small release as ``spring``."""
    in_process("data", "import", small_release.write_release(tmp_path / "spring"))
    return in_process


def in_store(url: str, work: Callable[[Store, int], Coroutine[Any, Any, object]]) -> None:
    """Do something with the dataset in the store."""

    async def run() -> None:
        store = await open_store(url)
        await work(store, (await store.datasets.get("spring")).id)
        await store.close()

    asyncio.run(run())


async def simulate(store: Store, dataset_id: int) -> None:
    """Supersede the answer about Oslo by a simulated one."""
    response = await store.responses.get(dataset_id, OSLO.key)
    assert response
    simulated = replace(response, provenance=Provenance.SIMULATED, details={"model": "m"}, created_at="")
    await store.responses.keep(dataset_id, [simulated], supersede=True)


def apis_of(ended: Ended) -> list[str]:
    return [row["api"] for row in ended.document["rows"]]


@pytest.mark.parametrize(
    ("options", "apis"),
    [
        ((), ["is_id", "current", "current"]),
        (("--category", "Video, Images"), ["is_id"]),
        (("--tool", "Sky Watch"), ["current", "current"]),
        (("--api", "id"), ["is_id"]),
        (("--provenance", "simulated"), ["current"]),
        (("--provenance", "recorded", "--provenance", "simulated"), ["is_id", "current", "current"]),
        (("--provenance", "live"), []),
        (("--grep", "Oslo"), ["current"]),
        (("--grep", "sunny"), ["is_id", "current"]),
        (("--grep", "SUNNY"), []),
        (("--newer", "1h"), ["is_id", "current", "current"]),
        (("--older", "1h"), []),
        (("--pinned",), []),
        (("--limit", "1"), ["is_id"]),
    ],
)
def test_responses_are_listed(
    imported: Stb, sqlite_store_url: str, options: tuple[str, ...], apis: list[str]
) -> None:
    """By names as clients write them, origin, age, text, and pins."""
    in_store(sqlite_store_url, simulate)

    listed = imported("cache", "ls", "spring", *options, "--json")

    assert apis == apis_of(listed)


def test_a_list_that_is_cut_says_so(imported: Stb) -> None:
    """How many more there are."""
    ended = imported("cache", "ls", "--limit", "2")

    assert ended.said == (0, "1 more. Raise --limit, or narrow the search.")
    assert imported("cache", "ls", "--limit", "2", "--json").document["total"] == 3


def test_a_response_is_shown_in_all_versions(imported: Stb, sqlite_store_url: str) -> None:
    """The newest first, with origin and details; the key may be cut short."""
    in_store(sqlite_store_url, simulate)

    shown = imported("cache", "show", OSLO.key[:10], "--json").document
    text = imported("cache", "show", OSLO.key[:10].upper()).out

    assert (shown["dataset"], shown["key"]) == ("spring", OSLO.key)
    assert [(row["version"], row["provenance"], row["details"]) for row in shown["rows"]] == [
        (2, "simulated", {"model": "m"}),
        (1, "recorded", None),
    ]
    assert shown["rows"][0]["body"] == {"error": "", "response": "sunny"}
    assert "Weather / sky_watch / current" in text
    assert '"response": "sunny"' in text
    assert "version 1: recorded" in text


def test_bodies_cannot_command_the_terminal(in_process: Stb, tmp_path: Path) -> None:
    """Control characters in names, arguments and bodies are shown, not obeyed."""
    entries = {"{'\x1b[2J\x9b': 1}": {"error": "", "response": "\x1b]0;title\x07 \x9b2J"}}
    in_process("data", "import", small_release.write_entries(tmp_path / "spring", entries))
    key = in_process("cache", "ls", "--json").document["rows"][0]["key"]

    printed = in_process("cache", "show", key).out + in_process("cache", "ls").out

    assert not {"\x1b", "\x9b", "\x07"} & set(printed)


def test_statistics_count_by_origin(imported: Stb, sqlite_store_url: str) -> None:
    """Counts, shares, sizes, versions and misses."""
    in_store(sqlite_store_url, simulate)

    found = imported("cache", "stats", "--json").document

    assert [(row["provenance"], row["responses"], row["share"]) for row in found["rows"]] == [
        ("recorded", 2, 66.67),
        ("simulated", 1, 33.33),
    ]
    assert (found["responses"], found["superseded"], found["apis_answered"]) == (3, 1, 2)
    assert sum(day["kept"] for day in found["by_day"]) == 4
    assert "66.7" in imported("cache", "stats").out


def test_misses_come_with_their_nearest_neighbour(imported: Stb, sqlite_store_url: str) -> None:
    """The most frequent first, and in what each differs from the recorded call."""

    async def miss(store: Store, dataset_id: int) -> None:
        near = Miss(
            "b" * 64,
            *("Weather", "sky_watch", "current"),
            b'{"city":"Oslo"}',
            OSLO.key,
            OSLO.canonical_arguments,
            0.8,
        )
        await store.misses.record(
            dataset_id, [near, Miss("c" * 64, "Weather", "sky_watch", "x", b"{}", count=5)]
        )

    in_store(sqlite_store_url, miss)

    found = imported("cache", "misses", "--json").document
    text = imported("cache", "misses").out

    assert [(row["count"], row["api"], row["difference"]) for row in found["rows"]] == [
        (5, "x", None),
        (1, "current", [{"argument": "days", "recorded": 3}]),
    ]
    assert "-days=3" in text


def test_differences_of_arguments_are_described() -> None:
    """Changed, added and missing arguments, from the recorded call to the missed one; types count."""
    found = argument_differences(
        {"a": 1, "b": "1", "d": True, "e": [1]}, {"a": 1.0, "b": 1, "c": None, "e": [1]}
    )

    assert describe_differences(found) == 'a 1.0 → 1, b 1 → "1", -c=null, +d=true'


def test_a_pinned_response_is_not_superseded(imported: Stb, sqlite_store_url: str) -> None:
    """Until it is unpinned."""
    pinned = imported("cache", "pin", OSLO.key[:12])
    in_store(sqlite_store_url, simulate)
    first = imported("cache", "ls", "--pinned", "--json").document["rows"]
    unpinned = imported("cache", "unpin", OSLO.key, "--json")
    in_store(sqlite_store_url, simulate)

    assert pinned.out == f"Pinned {OSLO.key} in spring.\n"
    assert [(row["key"], row["provenance"]) for row in first] == [(OSLO.key, "recorded")]
    assert unpinned.document == {"rows": [{"dataset": "spring", "key": OSLO.key, "pinned": False}]}
    assert [row["provenance"] for row in imported("cache", "show", OSLO.key, "--json").document["rows"]] == [
        "simulated",
        "recorded",
    ]


def test_a_response_is_deleted_only_when_it_is_meant(imported: Stb) -> None:
    """With all its versions, and the dataset's hash and count follow."""
    asked = imported("cache", "rm", OSLO.key[:12])
    ended = imported("cache", "rm", OSLO.key[:12], "--yes")

    text = f"stb: This would delete response {OSLO.key[:12]} of spring with 1 version. Add --yes to do it."
    assert asked.said == (2, text)
    assert (ended.code, ended.out) == (0, f"Deleted {OSLO.key} from spring.\n")
    assert imported("cache", "verify").out.startswith("spring: 2 responses, all correct.\n")
    assert imported("cache", "show", OSLO.key).said[0] == 2


def test_damage_is_found(imported: Stb, sqlite_store_url: str) -> None:
    """A changed body makes ``verify`` fail, with exit code 1."""

    async def damage(store: Store, _: int) -> None:
        async with store.writing() as connection:
            await connection.exec_driver_sql("UPDATE responses SET body = CAST('{}' AS BLOB) WHERE id = 1")

    in_store(sqlite_store_url, damage)

    ended = imported("cache", "verify", "spring", "--json")

    assert ended.code == 1
    assert [row["part"] for row in ended.document["rows"]] == ["response", "dataset"]


def test_failures_among_the_answers_are_counted(imported: Stb) -> None:
    """They are told from data, beside what the word filter of older servers would drop; none is an error."""
    ended = imported("cache", "verify", "spring")
    found = imported("cache", "verify", "spring", "--json").document

    text = "1 are failures rather than data. The word filter of older servers drops 1, of which 0 are data."
    assert (ended.code, ended.out.splitlines()[1]) == (0, text)
    assert (found["ok"], found["unusable"], found["usability"]["n"]) == (True, 1, 3)


def test_a_dump_goes_out_and_comes_back(imported: Stb, tmp_path: Path) -> None:
    """Dump, load elsewhere, compare: the commands tell the same story."""
    dumped = imported("cache", "dump", "-o", "out/d.jsonl.zst", "--json").document["rows"][0]
    again = imported("cache", "load", "out/d.jsonl.zst")
    imported("data", "import", tmp_path / "spring" / "tools", "--name", "summer")
    refused = imported("cache", "load", "out/d.jsonl.zst", "--dataset", "summer")
    forced = imported("cache", "load", "out/d.jsonl.zst", "--dataset", "summer", "--foreign", "--json")
    same = imported("cache", "diff", "spring", "out/d.jsonl.zst")
    imported("cache", "rm", OSLO.key, "--dataset", "summer", "--yes")
    different = imported("cache", "diff", "spring", "summer", "--json")

    assert (dumped["responses"], len(dumped["content_hash"])) == (3, 64)
    assert again.out == "Loaded 3 responses into spring: 0 added, 3 unchanged.\n"
    assert refused.code == 2
    assert (forced.document["added"], forced.document["rows"]) == (3, [])
    assert (same.code, same.out) == (0, "spring and out/d.jsonl.zst hold the same responses.\n")
    assert different.code == 1
    assert [(row["change"], row["key"]) for row in different.document["rows"]] == [("only in A", OSLO.key)]
    assert not different.document["same_tools_and_queries"]


def test_differences_are_named(imported: Stb, sqlite_store_url: str) -> None:
    """Other bodies, other origins, and responses that only one side has."""
    imported("cache", "dump", "-o", "a.jsonl")
    in_store(sqlite_store_url, simulate)

    ended = imported("cache", "diff", "a.jsonl", "spring")

    assert ended.code == 1
    assert ended.out.rstrip().endswith("Different answers: 1 (1 other provenance).")


def test_replace_and_conflicts_are_told(imported: Stb, sqlite_store_url: str) -> None:
    """A merge lists what it left; ``--replace`` counts what it changed."""
    imported("cache", "dump", "-o", "a.jsonl")
    in_store(sqlite_store_url, simulate)

    merged = imported("cache", "load", "a.jsonl", "--merge")
    replaced = imported("cache", "load", "a.jsonl", "--replace")

    assert merged.out.startswith("Loaded 3 responses into spring: 0 added, 2 unchanged.\n")
    assert OSLO.key[:12] in merged.out
    text = "Loaded 3 responses into spring: 0 added, 2 unchanged, 1 replaced, 0 retired.\n"
    assert replaced.out == text


def test_the_official_layout_is_written(imported: Stb, tmp_path: Path, sqlite_store_url: str) -> None:
    """As the reference server reads it; what it could not tell from recordings stays out."""
    in_store(sqlite_store_url, simulate)

    ended = imported("cache", "dump", "--format", "official", "-o", "official")

    assert ended.out == "Wrote 2 responses of spring to official/tool_response_cache.\n"
    left_out = (
        "1 were left out: they were not recorded from a real API, and the official layout cannot say so."
    )
    assert ended.said == (0, left_out)
    file = tmp_path / "official/tool_response_cache/Weather/sky_watch_for_Weather/current.json"
    assert json.loads(file.read_text()) == {"{'city': 'Rome'}": {"error": "no", "response": ""}}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("ls", "winter"), "stb: There is no dataset 'winter'. There are: spring."),
        (("ls", "--newer", "soon"), "stb: 'soon' is not a valid age. Write a number and a unit: 90s, 30m, 12h, 7d or 4w."),
        (("show", "xyz"), "stb: No key can start with 'xyz'. Keys are hexadecimal; list them with: stb cache ls."),
        (("show", "abcdef0123"), "stb: There is no response whose key starts with abcdef0123. List them with: stb cache ls."),
        (("dump", "-o", "x.json"), "stb: x.json is not a valid name for a dump. Use a name that ends in .jsonl or .jsonl.zst."),
        (("dump", "-o", "spring/tools/x/y.jsonl/z/z.jsonl"), "stb: spring/tools/x/y.jsonl/z/z.jsonl cannot be written: Not a directory. Name another place, or make room."),
        (("load", "nowhere.jsonl"), "stb: There is no dump nowhere.jsonl. Check the path."),
        (("load", "x" * 300), f"stb: {'x' * 300} cannot be read: File name too long. Check the path and its permissions."),
        (("diff", "spring", "nowhere.jsonl"), "stb: There is no dump nowhere.jsonl. Check the path."),
        (("diff", "spring", "winter"), "stb: There is no dataset 'winter'. There are: spring."),
    ],
)  # fmt: skip
def test_bad_usage_is_one_line(imported: Stb, tmp_path: Path, args: tuple[str, ...], said: str) -> None:
    """What is wrong and what to do, exit code 2."""
    small_release.write(tmp_path / "spring" / "tools" / "x" / "y.jsonl", b"")

    ended = imported("cache", *args)

    assert (2, said) == ended.said
    assert ended.out == ""


def test_a_damaged_dump_is_refused_in_one_line(imported: Stb, tmp_path: Path) -> None:
    """The line is named, and the exit code is 1."""
    imported("cache", "dump", "-o", "d.jsonl")
    path = tmp_path / "d.jsonl"
    path.write_bytes(path.read_bytes()[:-30])

    ended = imported("cache", "load", "d.jsonl")

    assert ended.said == (
        1,
        "stb: d.jsonl, line 4 is cut short or not a response. Nothing was loaded. Get a new copy of the dump.",
    )


def test_a_name_in_short_must_be_unique(in_process: Stb, tmp_path: Path) -> None:
    """Without a dataset, or with a key that two datasets have, the choice is asked for."""
    empty = in_process("cache", "ls")
    small_release.write_release(tmp_path / "r")
    for name in ("spring", "summer"):
        in_process("data", "import", "r", "--name", name)

    several = in_process("cache", "stats")
    twice = in_process("cache", "show", OSLO.key[:8])
    one = in_process("cache", "show", OSLO.key[:8], "--dataset", "summer")

    assert empty.said == (2, "stb: There is no dataset. Import one: stb data import PATH --name NAME.")
    assert several.said == (2, "stb: There are several datasets. Name one of them: spring, summer.")
    short, longer = OSLO.key[:8], OSLO.key[:12]
    text = (
        f"stb: Several responses have keys that start with {short}: {longer} in spring, {longer} in summer."
    )
    assert twice.said == (2, f"{text} Give more digits, or the dataset with --dataset.")
    assert one.code == 0


@pytest.mark.parametrize(
    ("age", "before"),
    [
        ("90s", "2026-01-01T23:58:30.000000+00:00"),
        ("30m", "2026-01-01T23:30:00.000000+00:00"),
        ("12h", "2026-01-01T12:00:00.000000+00:00"),
        ("1d", "2026-01-01T00:00:00.000000+00:00"),
        ("2w", "2025-12-19T00:00:00.000000+00:00"),
    ],
)
def test_an_age_is_a_moment(age: str, before: str) -> None:
    """Counted back from the time that is given."""
    assert before == time_before("2026-01-02T00:00:00.000000+00:00", age)


def test_an_age_beyond_the_calendar_is_refused() -> None:
    """Instead of an overflow."""
    with pytest.raises(UsageError, match="is earlier than year 1"):
        time_before("2026-01-02T00:00:00.000000+00:00", "999999w")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--category", "Wether"), "There is no category 'Wether' in spring. Did you mean 'Weather'?"),
        (("--tool", "sky_wach"), "There is no tool 'sky_wach' in spring. Did you mean 'sky_watch'?"),
        (
            ("--category", "Weather", "--tool", "sky_watch", "--api", "curent", "--json"),
            "There is no API 'curent' in spring, sky_watch. Did you mean 'current'?",
        ),
        (("--api", "zzz"), "There is no API 'zzz' in spring. No recorded response has this API."),
    ],
)
def test_a_name_that_no_response_has_is_an_error(imported: Stb, options: tuple[str, ...], told: str) -> None:
    """With the name that is most like it; a name that exists, without a match, is none."""
    wrong = imported("cache", "ls", "spring", *options)
    right = imported("cache", "ls", "spring", "--category", "Weather", "--grep", "no such text")

    assert (wrong.code, right.code) == (2, 0)
    assert told in " ".join(wrong.err.split())
