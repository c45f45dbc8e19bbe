"""How much a server adds to the time of its simulator's model: the makespan of misses over the ideal.

    python benchmarks/simulator.py [--short] [--calls 1280] [--connections 64] [--latency-ms 500] [--json]

A stub model answers after a fixed time. ``calls`` distinct calls, all of them misses, are sent over
``connections`` connections; ideally every connection only waits for the model. The same is then done
with the model alone, which shows what the client and the stub cost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from closed_loop import cpu_seconds, http_request

from stb_core.store import open_store
from stb_core.values.tools import ToolDocument

HERE = Path(__file__).parent
SERVE = ("-m", "stb_core.cli", "serve", "--port", "0", "--json", "--mode", "simulate", "--simulator", "llm")
TOOL = ToolDocument.model_validate(
    {
        "category": "Media",
        "tool_name": "films",
        "tool_description": "Finds films.",
        "api_list": [
            {
                "name": "search",
                "required_parameters": [{"name": "title", "type": "STRING", "description": "of the film"}],
                "template_response": {"title": "str", "count": "int"},
            }
        ],
    }
)


async def fill(path: Path) -> None:
    """A store with one documented API and no recordings."""
    store = await open_store(f"sqlite:///{path}")
    dataset = await store.datasets.create("bench")
    async with store.writing() as connection:
        await store.datasets.put_tools(connection, dataset.id, [TOOL])
    await store.close()


@contextmanager
def process(*command: str, **variables: str) -> Iterator[dict[str, Any]]:
    """A server that prints one line of JSON with its ``url`` and ``pid``."""
    started = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield json.loads(started.stdout.readline())
    finally:
        started.terminate()
        started.wait()


def call(url: str, number: int) -> bytes:
    """A request for a call that nobody made before."""
    body = {"category": "Media", "tool_name": "films", "api_name": "search"}
    return http_request(url, json.dumps({**body, "tool_input": {"title": f"film {number}"}}).encode())


async def makespan_s(url: str, requests: list[bytes], connections: int) -> float:
    """Seconds until all requests are answered."""
    target = urlsplit(url)
    waiting = iter(requests)

    async def work() -> None:
        reader, writer = await asyncio.open_connection(target.hostname, target.port)
        for request in waiting:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            at = head.index(b"content-length:") + 15
            body = await reader.readexactly(int(head[at : head.index(b"\r", at)]))
            if not head.startswith(b"http/1.1 200") or b"x-stb-error" in head:
                raise RuntimeError((head + body).decode(errors="replace")[:500])
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(connections)))
    return time.perf_counter() - started


def stats_of(url: str) -> dict[str, int]:
    """How often the stub model was asked."""
    with urllib.request.urlopen(f"{url}/stats", timeout=10) as reply:
        return json.load(reply)


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The makespan over the server, and over the stub model alone."""
    ideal = math.ceil(args.calls / args.connections) * args.latency_ms / 1000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        await fill(path)
        with (
            process(str(HERE / "stub_model.py"), str(args.latency_ms)) as model,
            process(
                *SERVE,
                *("--dataset", "bench", "--simulator-model", "stub/any"),
                STUB_BASE_URL=model["url"],
                STB_DATABASE_URL=f"sqlite:///{path}",
            ) as server,
        ):
            await makespan_s(server["url"], [call(server["url"], -number) for number in range(1, 65)], 64)
            cpu = cpu_seconds(server["pid"])
            ours = await makespan_s(
                server["url"], [call(server["url"], number) for number in range(args.calls)], args.connections
            )
            cpu = cpu_seconds(server["pid"]) - cpu
            stats = await asyncio.to_thread(stats_of, model["url"])
            bare = await makespan_s(
                model["url"], [call(model["url"], number) for number in range(args.calls)], args.connections
            )
    return {
        "calls": args.calls,
        "connections": args.connections,
        "latency_ms": args.latency_ms,
        "ideal_s": ideal,
        "model_alone_s": round(bare, 3),
        "server_s": round(ours, 3),
        "of_ideal": round(ours / ideal, 3),
        "model_alone_of_ideal": round(bare / ideal, 3),
        "server_cpu_ms_per_call": round(1000 * cpu / args.calls, 2),
        "model_calls": stats["count"] - 64,
        "most_in_flight": stats["most_in_flight"],
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=1280)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--latency-ms", type=float, default=500)
    parser.add_argument("--short", action="store_true", help="a quick look, without meaning")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.short:
        args.calls, args.latency_ms = 128, 50
    found = asyncio.run(measure(args))
    if args.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:>22} {value}")


if __name__ == "__main__":
    main()
