"""No page is heavier than 500 kB, however much there is to show."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from hostile import RUN, put_hostile
from stb_core.store import Store
from stb_core.store.datasets import Dataset
from stb_core.store.misses import Miss
from stb_core.values.calls import ToolCall
from stb_core.values.trajectories import Message, ModelCall, Node, Step, StopReason, Timing, Trajectory
from stb_server.worker.options import ServerOptions
from virtual_server import Running, recorded, running

MOST = 500_000
LARGE: dict[str, Any] = {f"member {n} {'long ' * 20}": [{"x" * 300: "y<" * 40}] * 3 for n in range(1_000)}
CALL = ToolCall("Weather", "sky_watch", "current", LARGE)


def step(number: int) -> Step:
    return Step(
        function="current_for_sky_watch",
        arguments=orjson.dumps({"city": f"City {number}", "more": ["z" * 50] * 10}).decode(),
        observation=orjson.dumps({"error": "", "response": [{"x": "y" * 50}] * 20}).decode(),
        category="Weather",
        tool="sky_watch",
        api="current",
        provenance="recorded",
    )


def search(name: str, parents: list[int]) -> Trajectory:
    """A search of thousands of nodes, or of long words."""
    words = Message(role="assistant", content="w " * 10_000) if name == "talk" else None
    nodes = [
        Node(
            parent=parent,
            step=None if words else step(number),
            message=words,
            pruned="gave up" if number % 7 == 0 else "",
        )
        for number, parent in enumerate(parents, 1)
    ]
    return Trajectory(
        group="G1_tool",
        query_id=name,
        query="?",
        agent="a",
        tree=(Node(parent=None, message=Message(role="user", content="?")), *nodes),
        steps=tuple(node.step for node in nodes[:1_000] if node.step),
        stop=StopReason.MAX_STEPS,
        timing=Timing(
            tool_calls=(0.1,) * len(nodes),
            model_calls=(ModelCall(seconds=1.0, prompt_tokens=10, completion_tokens=1),) * len(nodes),
        ),
    )


async def fill(store: Store, dataset: Dataset) -> None:
    """Fifty responses and misses with large arguments, one response in versions, three large searches."""
    body = orjson.dumps({"error": "e" * 100_000, "response": LARGE})
    large = replace(recorded(LARGE, body), details=LARGE)
    others = [recorded({"n": n, **LARGE}, body) for n in range(30)]
    await store.responses.keep(dataset.id, [large, *others])
    newer = replace(large, body=orjson.dumps({"error": "", "response": list(LARGE)}))
    await store.responses.keep(dataset.id, [newer], supersede=True)
    await store.curation.note(dataset.id, large.key, "n" * 9_000)
    names = CALL.category, CALL.tool, CALL.api
    await store.misses.record(
        dataset.id,
        [
            Miss(f"{n:064x}", *names, orjson.dumps({"n": n, **LARGE}), large.key, large.arguments, 0.5)
            for n in range(30)
        ],
    )
    size = 3_000
    shapes = {
        "chain": list(range(size)),
        "wide": [(n - 1) // 2 for n in range(1, size)],
        "star": [0] * size,
        "talk": list(range(400)),
    }
    await store.runs.put_trajectories(RUN, [search(name, parents) for name, parents in shapes.items()])


@pytest.fixture
async def server(sqlite_store: Store, sqlite_store_url: str) -> AsyncGenerator[Running]:
    """A server of all that."""
    await put_hostile(sqlite_store)
    await fill(sqlite_store, await sqlite_store.datasets.get("weather"))
    async with running(ServerOptions(sqlite_store_url, "weather")) as started:
        yield started


async def test_no_page_is_heavy(server: Running) -> None:
    """They cut what they show, and say where the whole of it is."""
    here = f"/cache/weather/{CALL.key}"
    paths = [
        *("/", "/cache/weather", "/cache/weather/record", "/misses/weather", "/runs", f"/runs/{RUN}"),
        *(here, f"{here}/diff?a=1&b=2"),
        *(f"/runs/{RUN}/G1_tool/{name}" for name in ("chain", "wide", "star", "talk")),
    ]

    sizes = {path: len((await server.client.get(path)).content) for path in paths}

    assert {} == {path: size for path, size in sizes.items() if not 1_000 < size < MOST}
