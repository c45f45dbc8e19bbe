"""A call that is in memory passes few files, so whoever follows it through the code reads no more than these."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from stb_core.store import Store
from stb_server.app.application import ServerApp
from stb_server.worker.options import ServerOptions
from virtual_server import put_weather, recorded, request, running

ROOT = Path(__file__).parents[3]
OURS = (str(ROOT / "core" / "stb_core"), str(ROOT / "server" / "stb_server"))
BONN = {"city": "Bonn"}


@contextmanager
def files_entered() -> Iterator[set[str]]:
    """Our files whose functions the application calls, within the block, to answer requests."""
    files: set[str] = set()

    def profile(frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(OURS) and _answers_a_request(frame):
            files.add(str(Path(file).relative_to(ROOT)))

    sys.setprofile(profile)
    try:
        yield files
    finally:
        sys.setprofile(None)


def _answers_a_request(frame: FrameType) -> bool:
    """Whether the application called this function, directly or not: background work does not count."""
    caller: FrameType | None = frame
    while caller is not None and caller.f_code is not ServerApp.__call__.__code__:
        caller = caller.f_back
    return caller is not None


async def test_a_call_in_memory_passes_at_most_five_files(sqlite_store: Store, sqlite_store_url: str) -> None:
    """The same bytes again: the application, the endpoint, the dataset's view, the memory, the latencies."""
    await put_weather(sqlite_store, recorded(BONN))
    async with running(ServerOptions(sqlite_store_url, "weather")) as server:
        await server.call(request(BONN))

        with files_entered() as files:
            answer = await server.call(request(BONN))

    assert "memory" == answer.headers["x-stb-cache"]
    assert "server/stb_server/app/virtual_endpoint.py" in files
    assert len(files) <= 5, sorted(files)
