"""Does every experiment again on a release and writes the pages beside this file.

    python docs/stability/regenerate.py DATA [POSTGRES_URL] [NAME…]

DATA is a folder with release/ (the official layout), tool_calls.jsonl (a workload), pass_rate_results/
(answers and verdicts of six systems) and mirrorapi_bench/ (predictions of a simulator). NAMEs choose among
the experiments. All of them take one to two hours on two cores.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SYSTEMS = [
    *("toolllama_sft_cot", "toolllama_sft_dfs", "baseline-rft_cot"),
    *("baseline-rft_dfs", "baseline-ppo_cot", "baseline-ppo_dfs"),
]
# What an answer and a verdict are taken to cost, in USD; nobody wrote down what they did.
COSTS = "--answer-cost", "0.01", "--verdict-cost", "0.001"
BEGIN, END = "<!-- findings -->\n", "<!-- end of findings -->\n"


@dataclass(frozen=True)
class Bench:
    """A scratch folder, the material, and where a PostgreSQL server is, "" for nowhere."""

    folder: Path
    data: Path
    postgres_url: str
    models_url: str

    async def stb(self, *args: object, store: str = "store") -> int:
        """Run a command on one of the stores; its exit code."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stb_core.cli", *map(str, args)),
            cwd=self.folder,
            env=self._environment(store),
        )
        return await process.wait()

    @asynccontextmanager
    async def serving(self, *args: str, store: str) -> AsyncGenerator[str]:
        """A server of a store; gives its address."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stb_core.cli", "serve", *args, "--port", "0", "--json"),
            cwd=self.folder,
            env=self._environment(store),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout
            yield json.loads(await process.stdout.readline())["url"]
        finally:
            process.terminate()
            await process.wait()

    def _environment(self, store: str) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("STB_")}
        url = f"sqlite:///{self.folder / store}.db"
        return {**own, "STB_DATABASE_URL": url, "SCRIPTED_BASE_URL": self.models_url}


async def reproduce(bench: Bench) -> int:
    """The same run twenty times."""
    postgres = ["--postgres-url", bench.postgres_url] if bench.postgres_url else []
    return await bench.stb(
        "experiment", "reproduce", "-d", "stb", "-k", 20, *postgres, "-o", HERE / "reproduce"
    )


async def order(bench: Bench) -> int:
    """Five orders."""
    return await bench.stb("experiment", "order", "-d", "stb", "-o", HERE / "order")


async def cache(bench: Bench) -> int:
    """The workload and the near calls."""
    files = "--release", bench.data / "release", "--calls", bench.data / "tool_calls.jsonl"
    return await bench.stb("experiment", "cache", *files, "-o", HERE / "cache")


async def failures(bench: Bench) -> int:
    """Five ways of answering at five levels."""
    return await bench.stb("experiment", "failures", "-d", "stb", "-o", HERE / "failures")


async def judge(bench: Bench) -> int:
    """What the verdicts on record tell of the judge that gave them."""
    return await bench.stb("experiment", "judge", *SYSTEMS, "--judge", "recorded", "-o", HERE / "judge")


async def variance(bench: Bench) -> int:
    """Of the verdicts on record: query against judge."""
    return await bench.stb(
        "experiment", "variance", *SYSTEMS, "--judge", "recorded", *COSTS, "-o", HERE / "variance"
    )


async def scripts(bench: Bench) -> int:
    """An agent, two simulators and two judges with planted faults: are they found, and told apart?"""
    failed = 0
    names: list[str] = []
    for seed in (0, 1):
        # A store of its own, so that none finds what the other simulator has made up.
        store, name = f"simulator-{seed}", f"wavering-{seed}"
        failed += await bench.stb("data", "import", bench.data / "release", "--name", "stb", store=store)
        options = "--mode", "simulate", "--simulator", "llm", "--simulator-model", "scripted/simulator"
        async with bench.serving(
            "--dataset", "stb", *options, "--simulator-seed", str(seed), store=store
        ) as url:
            failed += await bench.stb(
                *("run", "-a", f"{HERE / 'wavering.py'}:agent", "-d", "stb", "--limit", 20, "-k", 3),
                *("--server", url, "--name", name),
                store=store,
            )
        failed += await bench.stb("export", name, "-o", f"{name}.zip", "--force", store=store)
        failed += await bench.stb("import", f"{name}.zip")
        names.append(name)
    judges = "scripted/judge,scripted/strict-judge"
    failed += await bench.stb("score", *names, "--judge", judges)
    failed += await bench.stb(
        "experiment", "variance", *names, "--judge", judges, *COSTS, "-o", HERE / "variance-of-scripts"
    )
    return failed + await bench.stb(
        *("experiment", "judge", names[0], "--judge", "scripted/judge", "--against", names[1]),
        *("--sample", 200, "-o", HERE / "judge-of-scripts"),
    )


async def simulator(bench: Bench) -> int:
    """How true the released predictions of a simulator are; a page of the figures alone."""
    output = bench.folder / "simulator"
    failed = await bench.stb(
        "experiment", "simulator", "--bench", bench.data / "mirrorapi_bench", "-o", output
    )
    if not failed:
        found = json.loads((output / "fidelity.json").read_bytes())
        (HERE / "simulator").mkdir(exist_ok=True)
        (HERE / "simulator" / "README.md").write_text(simulator_page(found))
    return failed


def simulator_page(found: dict[str, Any]) -> str:
    """Every measure over all splits, and BLEU by split."""
    columns = ("value", "ci_low", "ci_high", "floor_constant", "floor_shuffled", "released", "n")
    lines = [
        "# How true a simulator is",
        "",
        _simulator_says(found["rows"]),
        "",
        "| split | measure | value | 95 % low | 95 % high | best constant | shuffled | as published | n |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        if row["split"] == "all" or row["metric"] == "bleu4":
            cells = [_cell(row.get(name)) for name in columns]
            lines.append(f"| {row['split']} | {row['metric']} | {' | '.join(cells)} |")
    lines += [
        "",
        "What this does not show:",
        "",
        "- The predictions are those that were released with the bench; no simulator was asked.",
        "- Likeness to one recorded answer is not truth: an API may well answer otherwise the next time.",
        "",
        f"Made by `stb experiment simulator` with bench `mirrorapi_bench`; seed `{found['seed']}`.",
    ]
    return "\n".join(lines) + "\n"


def _simulator_says(rows: list[dict[str, Any]]) -> str:
    by = {row["metric"]: row for row in rows if row["split"] == "all"}
    bleu, strict = by["bleu4"], by["strict_json"]
    return (
        f"BLEU-4 {bleu['value']:.1f} on {bleu['n']} calls, where the best constant answer reaches"
        f" {bleu['floor_constant']:.1f} and shuffled answers {bleu['floor_shuffled']:.1f}; {strict['value']:.1f} %"
        f" of the outputs are strict JSON, {by['usable']['value']:.1f} % can be served after repair."
    )


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value)


EXPERIMENTS: dict[str, Callable[[Bench], Coroutine[Any, Any, int]]] = {
    "simulator": simulator,
    "judge": judge,
    "variance": variance,
    "scripts": scripts,
    "cache": cache,
    "order": order,
    "failures": failures,
    "reproduce": reproduce,
}
PAGES = {
    "reproduce": "Does the same run give the same bytes?",
    "order": "Does it matter in which order, how many at a time, and beside whom?",
    "cache": "How often is a call recorded, and does any get another call's recording?",
    "failures": "What becomes of a score while APIs go down?",
    "simulator": "How like the real answers are a simulator's?",
    "judge": "How far do verdicts on record agree with each other?",
    "judge-of-scripts": "Are planted faults of a judge found?",
    "variance": "Where does the variance of a score come from, and what would a dollar buy?",
    "variance-of-scripts": "The same with trials, simulators and judges that differ on purpose",
}


def finding(page: str) -> str:
    """What a page says it found, as one line."""
    text = page.split("\n", 1)[1].strip()
    return " ".join(re.split(r"\n\n", text, maxsplit=1)[0].split())


def with_findings(readme: str) -> str:
    """The table of findings, from the pages as they are now."""
    lines = ["| experiment | asks | what was found |", "|---|---|---|"]
    for name, question in PAGES.items():
        path = HERE / name / "README.md"
        if path.is_file():
            lines.append(f"| [`{name}`]({name}/README.md) | {question} | {finding(path.read_text())} |")
    before, rest = readme.split(BEGIN)
    return before + BEGIN + "\n".join(lines) + "\n" + END + rest.split(END)[1]


@asynccontextmanager
async def _scripted_models() -> AsyncGenerator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "scripted_models.py"), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.wait()


async def regenerate(data: Path, postgres_url: str, names: list[str]) -> int:
    """Do the experiments in a scratch folder and write their pages; how many did not pass."""
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        async with _scripted_models() as url:
            bench = Bench(Path(folder), data, postgres_url, url)
            await bench.stb("data", "import", data / "release", "--name", "stb")
            await bench.stb("import", data / "pass_rate_results")
            for name, experiment in EXPERIMENTS.items():
                if not names or name in names:
                    code = await experiment(bench)
                    sys.stderr.write(f"{name}: {'passed' if code == 0 else 'did not pass'}\n")
                    failed += code != 0
    readme = HERE / "README.md"
    readme.write_text(with_findings(readme.read_text()))
    return failed


if __name__ == "__main__":
    given, *rest = sys.argv[1:]
    postgres = rest.pop(0) if rest and "://" in rest[0] else ""
    sys.exit(asyncio.run(regenerate(Path(given).resolve(), postgres, rest)))
