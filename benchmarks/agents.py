"""How close a run comes to only waiting for its model, and the CPU time and memory that it needs itself.

    python benchmarks/agents.py            765 queries, 8 trials, 256 concurrent, a model that takes 500 ms: a minute
    python benchmarks/agents.py --short    a few seconds

Prints one JSON object. A stub model calls three functions one after the other, then Finish; a server replays
their answers. Stub, server and run are three processes. *makespan_ratio* is the time of the run over the ideal,
in which every trial waits only for the model (calls / connections · latency). *cpu_ms_per_step* is the CPU
time of the run's process per step: a call of the model with all that follows from it. *peak_memory_mb* is the
largest resident size of that process. The start of Python is not counted; opening the store and reading the
queries are.
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
from pathlib import Path
from typing import Any

from closed_loop import peak_memory_bytes
from simulator import process
from stub_model import ARGUMENTS, TOOL_CALLS

from stb_core.cli import event_loop
from stb_core.settings import load_settings
from stb_core.store import open_store
from stb_core.store.responses import Response
from stb_core.values.calls import ToolCall
from stb_core.values.provenance import Provenance
from stb_core.values.queries import Query
from stb_core.values.tools import ApiRef, ToolDocument

HERE = Path(__file__).parent
DATASET, GROUP = "bench", "G1_instruction"
TOOLS, APIS_OFFERED = 200, 5
STEPS = TOOL_CALLS + 1
ANSWER = json.dumps({"error": "", "response": {"items": [{"id": n, "name": f"item {n}"} for n in range(30)]}})


def tool(number: int) -> ToolDocument:
    """A tool with two APIs, described at some length, as real ones are."""
    words = f"Finds what is known about subject {number}, by name, place and date. " * 3
    parameters = [
        {"name": "query", "type": "STRING", "description": "What to look for.", "default": "harbour"},
        {"name": "limit", "type": "NUMBER", "description": "How many to return.", "default": 10},
    ]
    apis = [
        {"name": f"{verb} {number}", "description": words, "required_parameters": parameters}
        for verb in ("search", "list")
    ]
    return ToolDocument.model_validate(
        {"category": "Data", "tool_name": f"tool {number}", "tool_description": words, "api_list": apis}
    )


async def fill(database_url: str, queries: int) -> None:
    """Fill a store with tools, queries that offer five APIs each, and a recording of each API."""
    tools = [tool(number) for number in range(TOOLS)]
    refs = [ApiRef(t.category, t.standard_name, a.standard_name) for t in tools for a in t.api_list]
    asked = [
        Query(
            query_id=str(number),
            group=GROUP,
            text=f"Tell me all about subject {number}, what it is, where it is, and what it costs. " * 2,
            apis=tuple(refs[(number * 7 + place * 31) % len(refs)] for place in range(APIS_OFFERED)),
        )
        for number in range(queries)
    ]
    calls = [ToolCall(*ref, ARGUMENTS) for ref in refs]
    store = await open_store(database_url)
    dataset = await store.datasets.create(DATASET)
    async with store.writing() as connection:
        await store.datasets.put_tools(connection, dataset.id, tools)
        await store.datasets.put_queries(connection, dataset.id, asked)
        await store.datasets.set_content_hash(connection, dataset.id, "0" * 64)
    await store.responses.keep(
        dataset.id,
        [
            Response(
                key=call.key,
                category=call.category,
                tool=call.tool,
                api=call.api,
                arguments=call.canonical_arguments,
                body=ANSWER.encode(),
                provenance=Provenance.RECORDED,
            )
            for call in calls
        ],
    )
    await store.close()


async def run(url: str, trials: int, connections: int) -> dict[str, Any]:
    """Do the run in this process, with the settings of the environment."""
    from stb_agents.runs.request import RunRequest  # noqa: PLC0415 - not needed by the parent
    from stb_agents.runs.run import run_agent  # noqa: PLC0415

    request = RunRequest("cot", DATASET, "stub/any", trials=trials, max_connections=connections, server=url)
    started, cpu = time.perf_counter(), time.process_time()
    done = await run_agent(load_settings(), request, quiet=True)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    total = done.summary.tallies[-1]
    return {
        "trials": total.n_done,
        "missing": len(done.summary.missing),
        "steps": total.usage.model_calls,
        "makespan_s": seconds,
        "cpu_s": cpu,
        "peak_memory_mb": peak_memory_bytes(os.getpid()) / 1e6,
    }


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Start stub and server, run, and compare the time with the ideal."""
    with tempfile.TemporaryDirectory() as folder:
        database_url = f"sqlite:///{Path(folder) / 'store.db'}"
        asyncio.run(fill(database_url, args.queries))
        serve = ("-m", "stb_core.cli", "serve", "--dataset", DATASET, "--port", "0", "--json")
        with (
            process(str(HERE / "stub_model.py"), str(args.latency_ms)) as model,
            process(*serve, STB_DATABASE_URL=database_url) as server,
        ):
            command = [sys.executable, __file__, "--run", server["url"]]
            command += ["--trials", str(args.trials), "--connections", str(args.connections)]
            environment = {**os.environ, "STB_DATABASE_URL": database_url, "STUB_BASE_URL": model["url"]}
            done = subprocess.run(command, env=environment, cwd=folder, stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)
    expected = args.queries * args.trials
    assert (found["trials"], found["missing"], found["steps"]) == (expected, 0, expected * STEPS), found
    ideal = math.ceil(expected / args.connections) * STEPS * args.latency_ms / 1000
    return {
        **found,
        "connections": args.connections,
        "latency_ms": args.latency_ms,
        "ideal_s": ideal,
        "makespan_ratio": found["makespan_s"] / ideal,
        "cpu_ms_per_step": 1000 * found["cpu_s"] / found["steps"],
    }


def main() -> None:
    """Measure; with ``--run``, do the run that is measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=765)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--latency-ms", type=int, default=500)
    parser.add_argument("--short", action="store_true", help="40 queries, 1 trial, 16 at a time, 20 ms")
    parser.add_argument("--run", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.short:
        args.queries, args.trials, args.connections, args.latency_ms = 40, 1, 16, 20
    found = event_loop.run(run(args.run, args.trials, args.connections)) if args.run else measure(args)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
