"""Does every experiment again on a release and writes the pages beside this file.

    python docs/stability/regenerate.py RELEASE CALLS [POSTGRES_URL]

RELEASE is a folder in the official layout, CALLS a workload in JSON Lines. Takes half an hour on two cores.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


async def regenerate(release: Path, calls: Path, postgres_url: str) -> int:
    """Import the release into a store of its own and run the four experiments; how many did not pass."""
    postgres = ["--postgres-url", postgres_url] if postgres_url else []
    files = ["--release", str(release), "--calls", str(calls)]
    experiments = {
        "reproduce": ["-k", "20", "--jobs", "2", *postgres],
        "order": ["--limit", "20"],
        "cache": files,
        "failures": ["--limit", "20"],
    }
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        await _stb(folder, "data", "import", str(release), "--name", "stb")
        for name, options in experiments.items():
            output = HERE.resolve() / name
            failed += await _stb(folder, "experiment", name, *options, "-o", str(output)) != 0
    return failed


async def _stb(folder: str, *args: str) -> int:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "stb_core.cli", *args, cwd=folder)
    return await process.wait()


if __name__ == "__main__":
    release, calls, *rest = sys.argv[1:]
    sys.exit(asyncio.run(regenerate(Path(release).resolve(), Path(calls).resolve(), rest[0] if rest else "")))
