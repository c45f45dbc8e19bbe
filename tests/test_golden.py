"""Stores, dumps and bundles of every release open, and give the scores and bytes that they gave then.

``golden/VERSION`` holds what ``stb demo`` of that version left: its store, a dump of its responses, a
bundle of its first run, and the scores of both runs; ``make_golden.py`` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from command_line import Ended, in_process
from conftest import REPOSITORY

__all__ = ["in_process"]

GOLDEN = sorted((REPOSITORY / "tests" / "golden").iterdir())

pytestmark = pytest.mark.parametrize("golden", GOLDEN, ids=[folder.name for folder in GOLDEN])


def scores_of(golden: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((golden / "scores.json").read_bytes())
    return found


def as_then(now: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """The fields that a row had then; the ends of an interval may differ in their last digit."""
    ends = {
        name: then[name]
        for name in ("ci_low", "ci_high")
        if then[name] is not None and now[name] == pytest.approx(then[name], abs=1e-9)
    }
    return {name: now[name] for name in then} | ends


def unpacked(path: Path) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read()


def test_a_store_scores_as_it_did(
    golden: Path, tmp_path: Path, in_process: Callable[..., Ended], sqlite_store_url: str
) -> None:
    """Every value, count and interval, from verdicts of then; and what it recorded is the same dump."""
    store = Path(sqlite_store_url.removeprefix("sqlite:///"))
    store.write_bytes(unpacked(golden / "store.db.zst"))
    then = scores_of(golden)
    runs = sorted({row["run"] for row in then})

    now = in_process("score", *runs, "--judge", "rules", "--json")
    dumped = in_process("cache", "dump", "demo", "-o", tmp_path / "responses.jsonl", "--json")
    verified = in_process("data", "verify", "demo")

    found = {
        tuple(row[name] for name in ("run", "metric", "block", "group")): row for row in now.document["rows"]
    }
    for row in then:
        same = found[tuple(row[name] for name in ("run", "metric", "block", "group"))]
        assert row == as_then(same, row)
    assert (0, 0, 0) == (now.code, dumped.code, verified.code)
    assert unpacked(golden / "responses.jsonl.zst") == (tmp_path / "responses.jsonl").read_bytes()


def test_a_bundle_is_still_identical(golden: Path, in_process: Callable[..., Ended]) -> None:
    """Read, judged and written again it is the same bytes, and its scores are those of then."""
    then = scores_of(golden)
    run = then[0]["run"]

    verified = in_process("verify", golden / "run.zip", "--json")
    imported = in_process("import", golden / "run.zip", "--json")
    now = in_process("score", run, "--judge", "rules", "--json").document["rows"]

    assert (0, 0) == (verified.code, imported.code), verified.out
    found = {(row["metric"], row["block"], row["group"]): row for row in now}
    for row in (row for row in then if row["run"] == run):
        same = found[row["metric"], row["block"], row["group"]]
        assert row == as_then(same, row)
