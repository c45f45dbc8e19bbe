"""Reading many cache files at once: in processes of their own where there is enough to read."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from itertools import groupby

from stb_core.errors import StbError
from stb_server.datasets.parallel_worker import LENGTH_BYTES, pack_files, unpack_recordings
from stb_server.datasets.response_files import CacheFile, Recordings, read_cache_files

_BATCH_BYTES = 2_000_000
_BATCHES_AHEAD = 16
_WORTH_PROCESSES = 16_000_000
_MOST_PROCESSES = 4


async def read_in_batches(files: Sequence[CacheFile]) -> AsyncGenerator[Recordings]:
    """What the files hold, some at a time and in order. All files of one API must be neighbours.

    Raises:
        StbError: a process that read them was killed.
    """
    batches, total = _batches(files)
    processes = min(os.cpu_count() or 1, _MOST_PROCESSES)
    if processes == 1 or total < _WORTH_PROCESSES:
        for batch in batches:
            yield read_cache_files(batch)
        return
    queue = _Queue(batches)
    workers = [await _start_worker() for _ in range(processes)]
    tasks = [asyncio.create_task(_feed(worker, queue)) for worker in workers]
    try:
        for result in queue.results:
            yield await result
            queue.room.release()
    finally:
        for task in tasks:
            task.cancel()
        for worker in workers:
            with suppress(ProcessLookupError):
                worker.kill()
            await worker.wait()


class _Queue:
    """Batches that wait, and what becomes of each; ``room`` bounds those read but not yet used."""

    def __init__(self, batches: list[list[CacheFile]]) -> None:
        loop = asyncio.get_running_loop()
        self.results: list[asyncio.Future[Recordings]] = [loop.create_future() for _ in batches]
        self.waiting = deque(zip(batches, self.results, strict=True))
        self.room = asyncio.Semaphore(_BATCHES_AHEAD)


async def _start_worker() -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "stb_server.datasets.parallel_worker",
        stdin=PIPE,
        stdout=PIPE,
        limit=4 * _BATCH_BYTES,
    )


async def _feed(worker: Process, queue: _Queue) -> None:
    """Keep one worker busy: it has the next batch before it has answered the last."""
    assert worker.stdin
    assert worker.stdout
    sent: deque[asyncio.Future[Recordings]] = deque()
    while queue.waiting or sent:
        while queue.waiting and len(sent) < 2 and not (sent and queue.room.locked()):
            await queue.room.acquire()
            if not queue.waiting:
                break
            batch, result = queue.waiting.popleft()
            sent.append(result)
            with suppress(ConnectionError):  # it is gone, which its silence will tell
                worker.stdin.write(pack_files(batch))
                await worker.stdin.drain()
        if not sent:
            return
        try:
            length = int.from_bytes(await worker.stdout.readexactly(LENGTH_BYTES), "big")
            found = unpack_recordings(await worker.stdout.readexactly(length))
        except Exception as problem:  # noqa: BLE001 - whoever waits for the results must learn of it
            for result in sent:
                result.set_exception(_explained(problem))
            return
        sent.popleft().set_result(found)


def _explained(problem: Exception) -> Exception:
    if not isinstance(problem, asyncio.IncompleteReadError):
        return problem
    return StbError(
        "A process that read recorded responses was killed.",
        hint="Run the same command again; what was imported is kept.",
    )


def _batches(files: Sequence[CacheFile]) -> tuple[list[list[CacheFile]], int]:
    """Files in batches of some megabytes, each API whole, and the bytes of all."""
    batches: list[list[CacheFile]] = []
    size, total = _BATCH_BYTES, 0
    for _, members in groupby(files, key=lambda file: file.names):
        group = list(members)
        if size >= _BATCH_BYTES:
            batches.append([])
            size = 0
        batches[-1] += group
        for file in group:
            with suppress(OSError):  # it is reported when it is read
                length = file.path.stat().st_size
                size, total = size + length, total + length
    return batches, total
