"""The benchmark of imports runs; its times are not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "import_release.py"


def test_a_short_form_prints_the_ratio() -> None:
    """Every response is imported, or the benchmark fails."""
    options = ("--responses", "500", "--apis", "20", "--rounds", "1")

    done = subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["responses"] == 500
    assert found["ratio"] > 0
