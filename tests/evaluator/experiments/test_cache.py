"""Rates of hits by both keys, and no recording for another call."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from small_release import write_release
from stb_experiments.cache import ServedCall, growth_rows, hit_rows
from stb_experiments.official_keys import WorkloadCall, keyed_call, read_recordings, read_workload

NAMES = ("Weather", "Sky Watch", "Current")


def call(system: str, arguments: dict[str, Any]) -> WorkloadCall:
    """A call of a workload."""
    return WorkloadCall(system, b"", keyed_call(*NAMES, arguments))


def test_the_official_key_minds_the_order_and_ours_does_not() -> None:
    """Of two spellings of a recorded call the official key finds the one in its own order."""
    there = [keyed_call(*NAMES, {"city": "Oslo", "days": 3})]
    asked = [call("a", {"city": "Oslo", "days": 3}), call("a", {"days": 3, "city": "Oslo"})]

    rows = hit_rows(asked, [ServedCall("recorded", "store"), ServedCall("recorded", "memory")], there)

    assert [("a", 50.0, 100.0, 50.0), ("all", 50.0, 100.0, 50.0)] == [
        (row["system"], row["hits_official"], row["hits_canonical"], row["from_memory"]) for row in rows
    ]


def test_a_cache_grows_by_what_it_has_not_seen() -> None:
    """Over systems in their order, from an empty cache."""
    asked = [call("a", {"x": 1, "y": 2}), call("a", {"x": 1, "y": 2}), call("b", {"y": 2, "x": 1})]

    rows = growth_rows(asked)

    assert [(50.0, 50.0, 1, 1), (0.0, 100.0, 2, 1)] == [
        (r["seen_official"], r["seen_canonical"], r["keys_official"], r["keys_canonical"]) for r in rows
    ]


def test_real_recordings_and_calls_meet_as_the_workload_says(real_data: Path) -> None:
    """Each row says whether its call is in the cache; the official key agrees on all of them."""
    official = {keys.official for keys in read_recordings(real_data / "release")}
    file = real_data / "tool_calls.jsonl"
    said = [json.loads(line)["in_cache"] for line in file.read_text().splitlines()]

    found = [one.keys is not None and one.keys.official in official for one in read_workload(file)]

    assert said == found


def test_a_release_is_tried_on_a_real_server(run_stb: Callable[..., Any], tmp_path: Path) -> None:
    """No near call gets a recording, no twin loses its own, and the files are written."""
    write_release(tmp_path / "release")
    row = {
        "system": "s",
        "category": "Weather",
        "tool_name": "Sky Watch",
        "api_name": "Current",
        "tool_input": '{"days": 3, "city": "Oslo"}',
    }
    (tmp_path / "calls.jsonl").write_text(json.dumps(row))

    ended = run_stb(
        *("experiment", "cache", "--release", "release", "--calls", "calls.jsonl", "-o", "out", "--json")
    )

    assert ended.code == 0, ended.err
    rows = ended.document["rows"]
    (total,) = [row for row in rows if row.get("system") == "all"]
    assert (0.0, 100.0, 100.0) == (
        total["hits_official"],
        total["hits_canonical"],
        total["served_recorded"],
    )
    assert sum(row.get("other_calls", 0) for row in rows) > 10
    assert sum(row.get("wrong_hits", 0) + row.get("lost_hits", 0) for row in rows) == 0
    assert {"rows.csv", "manifest.json", "README.md"} <= {p.name for p in (tmp_path / "out").iterdir()}
