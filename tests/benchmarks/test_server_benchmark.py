"""The benchmark of the server runs; its times are not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "server.py"


def test_the_short_form_prints_a_ratio_for_each_workload() -> None:
    """Every answer has status 200, or the benchmark fails."""
    done = subprocess.run(
        [sys.executable, SCRIPT, "--short", "--json"], capture_output=True, text=True, check=False
    )

    assert 0 == done.returncode, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert ["repeated", "unlike"] == [row["workload"] for row in rows][:2]
    assert all(row["cpu_ratio"] > 0 for row in rows)
