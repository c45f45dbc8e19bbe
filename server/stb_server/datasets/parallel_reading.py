"""Reads many response files at once, in worker processes when there is enough to read."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import groupby

from stb_core.errors import StbError
from stb_server.datasets.response_files import RecordingBatch, ResponseFile, read_response_files

_BATCH_BYTES = 2_000_000
_BATCHES_AHEAD = 16
# A worker process needs about a second of CPU time before it reads its first file.
_WORTH_PROCESSES = 100_000_000
_MOST_PROCESSES = 4


async def read_in_batches(files: Sequence[ResponseFile]) -> AsyncGenerator[RecordingBatch]:
    """Read files batch by batch, in order. All files of one API must be next to each other.

    At most ``_BATCHES_AHEAD`` batches are in memory that the caller has not taken yet.

    Raises:
        StbError: a worker process was killed.
    """
    batches, total = _batches(files)
    processes = min(os.cpu_count() or 1, _MOST_PROCESSES)
    if processes == 1 or total < _WORTH_PROCESSES:
        for batch in batches:
            yield read_response_files(batch)
        return
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_set_up_worker)
    reading: deque[Future[RecordingBatch]] = deque()
    try:
        for batch in batches:
            reading.append(pool.submit(read_response_files, batch))
            if len(reading) == _BATCHES_AHEAD:
                yield await asyncio.wrap_future(reading.popleft())
        while reading:
            yield await asyncio.wrap_future(reading.popleft())
    except BrokenProcessPool:
        raise StbError(
            "A process that read recorded responses was killed.",
            hint="Run the same command again; what was imported is kept.",
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _set_up_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which stops its workers
    if hasattr(os, "nice"):
        os.nice(3)  # the parent writes to the store, and all workers wait for it
    gc.disable()  # recordings hold no reference cycles
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """Exit when the parent was killed; a pool's workers would otherwise wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)


def _batches(files: Sequence[ResponseFile]) -> tuple[list[list[ResponseFile]], int]:
    """Files in batches of some megabytes, each API whole, and the bytes of all."""
    batches: list[list[ResponseFile]] = []
    size, total = _BATCH_BYTES, 0
    for _, members in groupby(files, key=lambda file: file.names):
        group = list(members)
        if size >= _BATCH_BYTES:
            batches.append([])
            size = 0
        batches[-1] += group
        for file in group:
            with suppress(OSError):  # reported when the file is read
                length = file.path.stat().st_size
                size, total = size + length, total + length
    return batches, total
