"""The benchmark of runs runs; its times are not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "agents.py"


def test_the_short_form_prints_ratio_cpu_and_memory() -> None:
    """Every trial is done with as many steps as it should take, or the benchmark fails."""
    done = subprocess.run([sys.executable, SCRIPT, "--short"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["trials"], found["steps"]) == (40, 160)
    assert min(found["makespan_ratio"], found["cpu_ms_per_step"], found["peak_memory_mb"]) > 0
