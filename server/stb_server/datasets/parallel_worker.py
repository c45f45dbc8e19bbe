"""A process that reads cache files: batches of files come in on stdin, what they hold goes out on stdout.

Run as ``python -m stb_server.datasets.parallel_worker``. It imports next to nothing, so it is ready at once, and
it ends with its parent, whose end of the pipe is then closed.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys

from stb_server.datasets.response_files import CacheFile, Recordings, read_cache_files

LENGTH_BYTES = 8


def pack_files(files: list[CacheFile]) -> bytes:
    """A batch, as it is sent to a worker."""
    return pickle.dumps(files)


def unpack_recordings(payload: bytes) -> Recordings:
    """What a worker sends back, after the length."""
    found = pickle.loads(payload)  # noqa: S301 - from a process that we started ourselves
    assert isinstance(found, Recordings)
    return found


def main() -> None:
    """Serve batches until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes the pipe
    if hasattr(os, "nice"):
        os.nice(3)  # the one process that writes is what all wait for
    gc.disable()  # what is read holds no cycles, and is freed batch by batch
    while True:
        try:
            files = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own parent
        except EOFError:
            return
        payload = pickle.dumps(read_cache_files(files))
        sys.stdout.buffer.write(len(payload).to_bytes(LENGTH_BYTES, "big") + payload)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
