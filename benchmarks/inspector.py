"""The inspector's lists and searches with a million responses, compared with ten thousand.

Each page is requested over HTTP from a server in a thread of this process; the median times of a page are compared,
after the responses were counted once. The aim: no page takes more than three times as long, and none is larger
than 500 kB. Only the size can make this command fail; the times are for people. ``--quick`` uses small
stores; with ``--folder`` the stores are kept and used again.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import orjson
import uvicorn

from stb_core.store import bulk, open_store
from stb_core.values.calls import call_key, canonical_json
from stb_core.values.tools import ToolDocument
from stb_server.app.inspector_only import create_inspector
from stb_server.app.process import bind, url_of

BATCH = 20_000
CATEGORIES, TOOLS, APIS = 50, 20, 5


def names(number: int) -> tuple[str, str, str]:
    """The API of a response: 5,000 of them, whatever the size of the store."""
    place = number % (CATEGORIES * TOOLS * APIS)
    category, rest = place % CATEGORIES, place // CATEGORIES
    return f"Category_{category}", f"tool_{rest % TOOLS}", f"api_{rest // TOOLS}"


def row(number: int) -> tuple:
    """A response of about a kilobyte; one in ten thousand is simulated."""
    category, tool, api = names(number)
    arguments = canonical_json({"city": f"city {number}", "limit": number % 10})
    body = orjson.dumps({"error": "", "response": {"n": number, "text": f"words of answer {number} " * 35}})
    provenance = "recorded" if number % 10_000 else "simulated"
    return call_key(category, tool, api, arguments), category, tool, api, arguments, body, provenance, None


async def fill(url: str, count: int) -> str:
    """Make the store; returns the key of a response in it."""
    store = await open_store(url)
    dataset = await store.datasets.create("many")
    apis = [{"name": f"api_{number}"} for number in range(APIS)]
    documents = [
        ToolDocument.model_validate({"category": f"Category_{c}", "tool_name": f"tool_{t}", "api_list": apis})
        for c in range(CATEGORIES)
        for t in range(TOOLS)
    ]
    async with store.writing() as connection:
        await store.datasets.put_tools(connection, dataset.id, documents)
    for start in range(0, count, BATCH):
        rows = [row(number) for number in range(start, min(start + BATCH, count))]
        async with store.writing() as connection:
            await bulk.add_responses(store, connection, dataset.id, rows)
    await store.close()
    return row(7)[0]


def pages(key: str) -> dict[str, str]:
    """The lists, the searches and one response, by what they are."""
    here = "/cache/many"
    return {
        "overview": "/",
        "dataset": here,
        "category": f"{here}?category=Category_7",
        "API": f"{here}?category=Category_7&tool=tool_3&api=api_1",
        "deep in the list": f"{here}?after=9000",
        "search: name": f"{here}?name=tool_3+api_1",
        "search: name, in a category": f"{here}?category=Category_7&name=api_1",
        "search: provenance": f"{here}?provenance=simulated",
        "search: arguments, found": f"{here}?arguments=city+7",
        "search: arguments, nowhere": f"{here}?arguments=no+such+city",
        "search: answer, nowhere": f"{here}?text=no+such+words",
        "search: answer, in one tool": f"{here}?category=Category_7&tool=tool_3&text=no+such+words",
        "search: date": f"{here}?since=2100-01-01",
        "search: beginning of a key": f"{here}?arguments={key[:8]}",
        "response": f"{here}/{key}",
        "by hand": f"{here}/record",
        "misses": "/misses/many",
    }


@contextmanager
def served(url: str) -> Iterator[str]:
    """The address of the pages of a store."""
    with bind("127.0.0.1", 0) as listener:
        listener.listen()
        server = uvicorn.Server(
            uvicorn.Config(create_inspector(url), lifespan="on", ws="none", log_config=None)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield url_of(listener)
        server.should_exit = True
        thread.join()


def measure(url: str, key: str, repeats: int) -> tuple[dict[str, float], dict[str, int], float]:
    """Milliseconds of each page, its bytes, and the seconds that counting took."""
    times: dict[str, float] = {}
    sizes: dict[str, int] = {}
    with served(url) as address, httpx.Client(base_url=address, timeout=120) as client:
        started = time.perf_counter()
        while "Counting" in client.get("/cache/many").text:
            time.sleep(0.2)
        counted = time.perf_counter() - started
        for name, path in pages(key).items():
            taken = []
            for _ in range(repeats):
                before = time.perf_counter()
                answer = client.get(path)
                taken.append(1000 * (time.perf_counter() - before))
                assert answer.status_code in {200, 303}, (path, answer.status_code)
            times[name], sizes[name] = statistics.median(taken), len(answer.content)
    return times, sizes, counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small stores, to see that it works")
    parser.add_argument("--folder", type=Path, help="where the stores are kept and found again")
    quick = parser.parse_args().quick
    folder = parser.parse_args().folder
    counts = (500, 2_000) if quick else (10_000, 1_000_000)
    with tempfile.TemporaryDirectory() as scratch:
        found = []
        for count in counts:
            path = (folder or Path(scratch)) / f"responses-{count}.db"
            url = f"sqlite:///{path}"
            key = row(7)[0] if path.exists() else asyncio.run(fill(url, count))
            found.append(measure(url, key, 3 if quick else 15))
    (small, _, _), (large, sizes, counted) = found
    print(f"{'page':30} {counts[0]:>9,} {counts[1]:>9,}  ratio     kB")
    for name, before in small.items():
        print(
            f"{name:30} {before:6.1f} ms {large[name]:6.1f} ms {large[name] / before:6.2f} {sizes[name] / 1000:6.1f}"
        )
    slowest = max(small, key=lambda name: large[name] / small[name])
    largest = max(sizes, key=lambda name: sizes[name])
    print(f"slowest in proportion: {slowest}, {large[slowest] / small[slowest]:.2f} times as long (aim: 3)")
    print(f"largest: {largest}, {sizes[largest] / 1000:.1f} kB (aim: 500)")
    print(f"counting {counts[1]:,} responses the first time took {counted:.1f} s")
    if sizes[largest] > 500_000:
        sys.exit(1)


if __name__ == "__main__":
    main()
