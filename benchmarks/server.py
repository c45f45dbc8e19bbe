"""What a replayed call costs in the server, compared with a bare Starlette route, in one run.

    python benchmarks/server.py [--short] [--data FOLDER] [--responses 1000 1000000] [--rounds 5] [--json]

The bare route parses the same body, makes the same canonical key and returns the same bytes from a
dict. Both run as one process each with the same uvicorn; they are loaded in turn, A B A B, from 32
connections, and medians over the rounds are compared. Two workloads: ``repeated`` sends the same
request bytes again and again, ``unlike`` changes a member of each request that does not matter, so
that no answer can be found by the bytes of a request. Where there is a redis-server, a third
comparison answers unlike requests from Redis, against a bare route with one GET.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import closed_loop
import uvloop

from stb_core.store import open_store
from stb_core.store.responses import Response
from stb_core.values.calls import ToolCall, parse_arguments
from stb_core.values.provenance import Provenance

HERE = Path(__file__).parent
SERVE = ("-m", "stb_core.cli", "serve", "--port", "0", "--json")
CONNECTIONS = 32
CALLS = 1_000  # different ones, the same number whatever the size of the store
WORDS = [
    "amber",
    "basin",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "harbor",
    "island",
    "jungle",
    "kelp",
    "lagoon",
    "meadow",
    "north",
]


def synthetic(rng: random.Random, number: int) -> Response:
    """A recorded answer of about 1 kB to a call with two to five arguments."""
    arguments: dict[str, Any] = {"query": f"{rng.choice(WORDS)} {rng.choice(WORDS)}", "item_id": number}
    others = {"language": "en", "limit": 25, "detailed": True}
    arguments |= {name: value for name, value in others.items() if rng.random() < 0.5}
    call = ToolCall("Sports", f"tool_{number % 97:03d}", f"api_{number % 4}", arguments)
    items = [{"name": rng.choice(WORDS), "score": rng.randrange(10**6)} for _ in range(26)]
    body = json.dumps({"error": "", "response": json.dumps(items)}).encode()
    names = call.category, call.tool, call.api
    return Response(call.key, *names, call.canonical_arguments, body, Provenance.RECORDED)


async def fill(path: Path, count: int) -> list[bytes]:
    """A store with synthetic responses; returns the bodies of requests for some of them."""
    rng = random.Random(1)
    chosen = set(rng.sample(range(count), min(count, CALLS)))
    store = await open_store(f"sqlite:///{path}")
    dataset = await store.datasets.create("bench")
    calls: list[bytes] = []
    for start in range(0, count, 10_000):
        batch = [synthetic(rng, number) for number in range(start, min(count, start + 10_000))]
        await store.responses.keep(dataset.id, batch)
        calls += [
            request(r.category, r.tool, r.api, r.arguments.decode())
            for number, r in enumerate(batch, start)
            if number in chosen
        ]
    await store.close()
    rng.shuffle(calls)
    return calls


def request(category: str, tool: str, api: str, tool_input: str) -> bytes:
    """A request body as StableToolBench's client sends it."""
    body = {"category": category, "tool_name": tool, "api_name": api, "tool_input": tool_input}
    return json.dumps({**body, "strip": "truncate", "toolbench_key": closed_loop.COUNTER.decode()}).encode()


async def real(path: Path, data: Path) -> list[bytes]:
    """A store with the release's recordings; returns the requests that agents made and it can answer."""
    stb(path, "data", "import", str(data / "release"), "--name", "bench")
    store = await open_store(f"sqlite:///{path}")
    dataset = await store.datasets.get("bench")
    calls = []
    for line in (data / "tool_calls.jsonl").read_text().splitlines():
        row = json.loads(line)
        names = row["category"], row["tool_name"], row["api_name"]
        if row["in_cache"] and await store.responses.get(
            dataset.id, ToolCall(*names, parse_arguments(row["tool_input"])).key
        ):
            calls.append(request(*names, row["tool_input"]))
    await store.close()
    return calls


def stb(path: Path, *arguments: str) -> None:
    """Run a command on the store."""
    command = [sys.executable, "-m", "stb_core.cli", *arguments]
    subprocess.run(command, env=environment(path), check=True, stdout=subprocess.DEVNULL)


def environment(path: Path) -> dict[str, str]:
    """The environment of the processes: the store, and no settings of the user."""
    return {"STB_DATABASE_URL": f"sqlite:///{path}", "PATH": "/usr/bin:/bin"}


@contextmanager
def process(path: Path, *command: str) -> Iterator[dict[str, Any]]:
    """A server that prints one line of JSON with its ``url`` and ``pid``."""
    with tempfile.TemporaryFile() as said:
        started = subprocess.Popen(
            [sys.executable, *command], env=environment(path), stdout=subprocess.PIPE, stderr=said
        )
        try:
            line = started.stdout.readline()
            if not line:
                started.wait()
                said.seek(0)
                raise RuntimeError(said.read().decode())
            yield json.loads(line)
        finally:
            started.terminate()
            try:
                started.wait(60)
            except subprocess.TimeoutExpired:
                started.kill()
                raise


async def measure(path: Path, bodies: list[bytes], args: argparse.Namespace) -> list[dict[str, Any]]:
    """The comparisons: from memory by both workloads, and from Redis where there is one."""
    rows = []
    calls = path.with_name("calls.jsonl")
    calls.write_bytes(b"\n".join(bodies))
    with ExitStack() as stack:
        bare = stack.enter_context(process(path, str(HERE / "bare_route.py"), str(path), str(calls)))
        ours = stack.enter_context(process(path, *SERVE))
        for workload in ("repeated", "unlike"):
            unlike = workload == "unlike"
            rows.append({"workload": workload, **await compare(bare, ours, bodies, args, unlike=unlike)})
        rows[0]["peak_memory_mb"] = round(closed_loop.peak_memory_bytes(ours["pid"]) / 2**20, 1)
    if shutil.which("redis-server"):
        with ExitStack() as stack:
            url = stack.enter_context(redis())
            bare = stack.enter_context(process(path, str(HERE / "bare_route.py"), str(path), str(calls), url))
            ours = stack.enter_context(process(path, *SERVE, "--redis-url", url, "--memory-mb", "0"))
            rows.append({"workload": "from Redis", **await compare(bare, ours, bodies, args, unlike=True)})
    return rows


async def compare(
    bare: dict[str, Any], ours: dict[str, Any], bodies: list[bytes], args: argparse.Namespace, *, unlike: bool
) -> dict[str, float]:
    """Load both in turn, round after round."""
    loads: dict[str, list[closed_loop.Load]] = {"bare": [], "ours": []}
    for _ in range(args.rounds):
        for name, at in (("bare", bare), ("ours", ours)):
            loads[name].append(await load(at, bodies, args, unlike=unlike))
    return compared(loads["bare"], loads["ours"])


@contextmanager
def redis() -> Iterator[str]:
    """A new Redis server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        started.terminate()
        started.wait()


async def load(
    at: dict[str, Any], bodies: list[bytes], args: argparse.Namespace, *, unlike: bool
) -> closed_loop.Load:
    """One measurement of one server."""
    requests = [closed_loop.http_request(at["url"], body) for body in bodies]
    following = closed_loop.in_turn(requests, unlike=unlike)
    return await closed_loop.drive(
        at["url"],
        at["pid"],
        following,
        connections=CONNECTIONS,
        warmup_s=args.warmup,
        seconds=args.seconds,
    )


def compared(bare: list[closed_loop.Load], ours: list[closed_loop.Load]) -> dict[str, float]:
    """Medians of both, and of the ratios within each round."""

    def median(values: Iterator[float]) -> float:
        return round(statistics.median(values), 3)

    pairs = list(zip(bare, ours, strict=True))
    return {
        "bare_per_s": median(b.per_second for b in bare),
        "ours_per_s": median(o.per_second for o in ours),
        "throughput_ratio": median(o.per_second / b.per_second for b, o in pairs),
        "bare_cpu_us": median(b.cpu_us for b in bare),
        "ours_cpu_us": median(o.cpu_us for o in ours),
        "cpu_ratio": median(b.cpu_us / o.cpu_us for b, o in pairs),
        "p99_ratio": median(o.p99_s / b.p99_s for b, o in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with release/ and tool_calls.jsonl")
    parser.add_argument(
        "--responses",
        type=int,
        nargs="+",
        default=[1_000],
        help="synthetic responses in the store, sizes in turn",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="measured, a round and server")
    parser.add_argument("--warmup", type=float, default=1.0, help="seconds before that")
    parser.add_argument(
        "--short", action="store_true", help="one round of half a second, to see that it runs"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    args = parser.parse_args()
    if args.short:
        args.rounds, args.seconds, args.warmup = 1, 0.5, 0.3
    rows = []
    for count in args.responses:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "store.db"
            bodies = uvloop.run(real(path, args.data) if args.data else fill(path, count))
            rows += [
                {"responses": "real" if args.data else count, **row}
                for row in uvloop.run(measure(path, bodies, args))
            ]
    if args.json:
        print(json.dumps({"rows": rows}, indent=2))
        return
    for name in rows[0]:
        print(f"{name:18}" + "".join(f"{row.get(name, ''):>14}" for row in rows))


if __name__ == "__main__":
    main()
