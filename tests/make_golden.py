"""Writes what ``tests/test_golden.py`` reads: ``python tests/make_golden.py VERSION``, once per release.

The folder ``tests/golden/VERSION`` gets what ``stb demo`` leaves: its store, a dump of its responses, a
bundle of its first run, and the scores of both runs. An existing folder stays as it is.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import zstandard

GOLDEN = Path(__file__).parent / "golden"
FIELDS = (
    *("run", "metric", "block", "group", "value", "n", "n_total", "n_error", "ci_low", "ci_high"),
    *("judge", "rubric", "complete"),
)


def main(version: str) -> None:
    """Make the folder of a version."""
    folder = GOLDEN / version
    folder.mkdir()
    with tempfile.TemporaryDirectory() as temporary:
        demo = Path(temporary) / "demo"
        stb(Path(temporary), "demo", str(demo), "--json")
        runs = [row["run"] for row in stb(demo, "ls", "--json")["rows"]]
        stb(demo, "cache", "dump", "demo", "-o", str(folder / "responses.jsonl.zst"), "--json")
        first = min(runs)
        stb(demo, "export", first, "-o", str(folder / "run.zip"), "--json")
        scores = stb(demo, "score", *sorted(runs), "--judge", "rules", "--json")["rows"]
        rows = [{name: row[name] for name in FIELDS} for row in scores]
        (folder / "scores.json").write_text(json.dumps(rows, indent=1) + "\n")
        store = demo / ".stb" / "stb.db"
        with closing(sqlite3.connect(store)) as file:
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        packed = zstandard.ZstdCompressor(level=19).compress(store.read_bytes())
        (folder / "store.db.zst").write_bytes(packed)


def stb(folder: Path, *args: str) -> dict[str, Any]:
    """The JSON document that a command prints; settings of the environment do not count."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STB_")}
    command = [sys.executable, "-m", "stb_core.cli", *args]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


if __name__ == "__main__":
    main(*sys.argv[1:])
