"""A closed-loop HTTP client: each connection sends one request, waits for its whole answer, sends the next."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

COUNTER = b"@@@@@@@@@@"
"""Ten characters of a request that a number replaces, so that it differs from all requests before."""


@dataclass(frozen=True)
class Load:
    """A measurement: latencies in seconds, and CPU time of the server's process in seconds."""

    requests: int
    seconds: float
    server_cpu_s: float
    p50_s: float
    p99_s: float

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return self.requests / self.seconds

    @property
    def cpu_us(self) -> float:
        """The server's CPU microseconds per answer."""
        return 1e6 * self.server_cpu_s / self.requests


def http_request(url: str, body: bytes) -> bytes:
    """A complete POST request to ``/virtual``, as bytes."""
    host = urlsplit(url).netloc
    head = f"POST /virtual HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return f"{head}Accept: */*\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def in_turn(requests: list[bytes], *, unlike: bool) -> Callable[[], bytes]:
    """The requests in turn; with ``unlike``, each has another number in place of ``COUNTER``."""
    turn: Iterator[bytes] = itertools.cycle(requests)
    if not unlike:
        return turn.__next__
    number = itertools.count(int(time.time() * 1000) % 10**9)
    return lambda: next(turn).replace(COUNTER, b"%010d" % next(number), 1)


class _Connection(asyncio.Protocol):
    def __init__(self, following: Callable[[], bytes], latencies: list[float]) -> None:
        self._following = following
        self._latencies = latencies
        self._buffer = b""
        self._sent_at = 0.0
        self.transport: asyncio.Transport | None = None
        self.failed = ""

    def connection_made(self, transport) -> None:
        self.transport = transport
        self._send()

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self.transport.write(self._following())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.index(b"content-length:") + 15
        size = int(head[at : (head + b"\r").index(b"\r", at)])
        if len(self._buffer) < end + 4 + size:
            return
        if not head.startswith(b"http/1.1 200"):
            self.failed = self._buffer.decode(errors="replace")[:500]
        self._latencies.append(time.perf_counter() - self._sent_at)
        self._buffer = b""
        self._send()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory_bytes(pid: int) -> int:
    """The largest resident size of a process so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


async def drive(
    url: str, pid: int, following: Callable[[], bytes], *, connections: int, warmup_s: float, seconds: float
) -> Load:
    """Load a server; answers in the first ``warmup_s`` seconds are not counted.

    Raises:
        RuntimeError: an answer had another status than 200.
    """
    loop = asyncio.get_running_loop()
    target = urlsplit(url)
    latencies: list[float] = []
    made = [
        await loop.create_connection(lambda: _Connection(following, latencies), target.hostname, target.port)
        for _ in range(connections)
    ]
    await asyncio.sleep(warmup_s)
    latencies.clear()
    started, cpu = time.perf_counter(), cpu_seconds(pid)
    await asyncio.sleep(seconds)
    elapsed, cpu = time.perf_counter() - started, cpu_seconds(pid) - cpu
    counted = sorted(latencies)
    for transport, protocol in made:
        transport.abort()
        if protocol.failed:
            raise RuntimeError(protocol.failed)
    return Load(
        len(counted),
        elapsed,
        cpu,
        counted[len(counted) // 2],
        counted[min(len(counted) - 1, int(len(counted) * 0.99))],
    )
