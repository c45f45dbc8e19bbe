"""Commands of ``stb`` in processes that a test may kill, and waiting for what they do."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from conftest import clean_environment
from preloaded_stb import start_stb


@contextmanager
def started(folder: Path, *args: str, env: dict[str, str]) -> Generator[subprocess.Popen[str]]:
    """The command in a process that does not outlive the block: SIGKILL at its end.

    The store is ``store.db`` in the folder unless ``env`` names another.
    """
    url = f"sqlite:///{folder / 'store.db'}"
    process = start_stb(
        args,
        cwd=folder,
        env=clean_environment(STB_DATABASE_URL=url) | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def wait_for(
    condition: Callable[[], bool], process: subprocess.Popen[str] | None = None, *, seconds: float = 120
) -> None:
    """Until something is so, and not longer than the process lives."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        assert process is None or process.poll() is None
        await asyncio.sleep(0.005)
