"""How long an import takes, compared with a bare ``json.load`` of the same files in the same run.

    python benchmarks/import_release.py                    165,000 responses over 2,000 APIs
    python benchmarks/import_release.py --responses 5000   a short form
    python benchmarks/import_release.py --database-url postgresql://…

Makes a synthetic release in the official layout, then reads and imports it in turn, each import into
an empty dataset, and prints one JSON object with the medians and their ratio. Only the ratio means something:
the times depend on the machine and the moment.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

from stb_core.store import Store, open_store
from stb_server.datasets.release import find_release, import_release

CATEGORIES = ("Finance", "Food", "Music", "Sports", "Travel", "Weather")
WORDS = [
    "anvil",
    "brook",
    "clover",
    "dune",
    "elm",
    "fern",
    "gorge",
    "heath",
    "inlet",
    "juniper",
    "knoll",
    "loch",
    "mesa",
    "nettle",
    "oak",
    "pine",
]
APIS_OF_A_TOOL = 4


def arguments(rng: random.Random, number: int) -> dict[str, object]:
    """Two to five arguments of several types; ``number`` makes them unlike all others."""
    members: list[tuple[str, object]] = [
        ("query", " ".join(rng.sample(WORDS, 2))),
        ("page_id", number),
        ("country", rng.choice(("at", "be", "ch", "dk"))),
        ("limit", rng.choice((5, 20, 100))),
        ("verbose", rng.random() < 0.5),
    ]
    return dict(members[:2] + rng.sample(members[2:], rng.randint(0, 3)))


def answer(rng: random.Random, size: int) -> dict[str, str]:
    """An answer of about ``size`` bytes, whose response is text that holds JSON, as recorded ones are."""
    items: list[dict[str, object]] = []
    while len(text := json.dumps(items)) < size:
        items.append({"name": rng.choice(WORDS), "rank": rng.randint(0, 9999), "tags": rng.sample(WORDS, 3)})
    return {"error": "", "response": text}


def make_release(folder: Path, *, responses: int, apis: int, size: int, seed: int = 1) -> list[Path]:
    """Write the tools and the response cache of a release; returns the files of the cache."""
    rng = random.Random(seed)
    files: list[Path] = []
    for number in range(apis):
        tool = number // APIS_OF_A_TOOL
        category, name, api = (
            CATEGORIES[tool % len(CATEGORIES)],
            f"tool_{tool}",
            f"api_{number % APIS_OF_A_TOOL}",
        )
        file = folder / "tool_response_cache" / category / f"{name}_for_{category}" / f"{api}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        cache = {str(arguments(rng, n)): answer(rng, size) for n in range(number, responses, apis)}
        file.write_text(json.dumps(cache, indent=4))
        files.append(file)
        if number % APIS_OF_A_TOOL == 0:
            document = folder / "tools" / category / f"{name}.json"
            document.parent.mkdir(parents=True, exist_ok=True)
            members = [
                {"name": f"api_{n}", "method": "GET"} for n in range(min(APIS_OF_A_TOOL, apis - number))
            ]
            document.write_text(json.dumps({"tool_name": name, "api_list": members}))
    return files


def read_all(files: list[Path]) -> float:
    """Seconds of a bare ``json.load`` of every file."""
    start = time.perf_counter()
    for path in files:
        with path.open() as file:
            json.load(file)
    return time.perf_counter() - start


async def import_all(store: Store, folder: Path, expected: int) -> float:
    """Seconds of an import into a new dataset, which is checked and removed."""
    start = time.perf_counter()
    imported = await import_release(store, find_release(folder), "bench", advance=lambda *_: None)
    seconds = time.perf_counter() - start
    assert (imported.responses.added, len(imported.skipped)) == (expected, 0), imported
    await store.datasets.remove("bench")
    return seconds


async def measure(
    url: str, folder: Path, files: list[Path], responses: int, rounds: int
) -> dict[str, object]:
    """Read and import in turn; the first round warms up and does not count."""
    read: list[float] = []
    imported: list[float] = []
    for _ in range(rounds + 1):
        read.append(read_all(files))
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            store = await open_store(url or f"sqlite:///{scratch}/store.db")
            imported.append(await import_all(store, folder, responses))
            await store.close()
    read_s, imported_s = statistics.median(read[1:]), statistics.median(imported[1:])
    return {
        "responses": responses,
        "megabytes": round(sum(file.stat().st_size for file in files) / 1e6),
        "json_load_s": round(read_s, 3),
        "import_s": round(imported_s, 3),
        "ratio": round(imported_s / read_s, 2),
        "ratios": [round(b / a, 2) for a, b in zip(read[1:], imported[1:], strict=True)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--responses", type=int, default=165_000)
    parser.add_argument("--apis", type=int, default=2_000)
    parser.add_argument("--response-bytes", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--database-url", default="", help="an empty database; SQLite in a scratch folder if none"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = make_release(
            folder, responses=options.responses, apis=options.apis, size=options.response_bytes
        )
        found = asyncio.run(measure(options.database_url, folder, files, options.responses, options.rounds))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
