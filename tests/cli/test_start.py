"""A command starts quickly: what only some commands need is loaded by those alone."""

from __future__ import annotations

import subprocess
import sys

SLOW = ("openai", "scipy.stats", "scipy.sparse", "fastapi", "mcp")


def test_the_command_tree_loads_nothing_slow() -> None:
    """All commands and flags are known without the model client, the statistics or the web framework."""
    program = f"import sys; from stb_core.cli import load_commands; load_commands(); print(*sorted({set(SLOW)} & sys.modules.keys()))"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "" == loaded.stdout.strip()
