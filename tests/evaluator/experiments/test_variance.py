"""``stb experiment variance``: stored runs, their simulators and trials, and what more would buy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluator_makers import trajectory
from stb_core.store import Store, open_store
from stb_core.values.manifest import Manifest
from stb_core.values.verdicts import Status, Verdict

SYSTEMS = [
    f"{name}_{way}" for name in ("toolllama_sft", "baseline-rft", "baseline-ppo") for way in ("cot", "dfs")
]


def of(ended: Any, table: str) -> list[dict[str, Any]]:
    return [row for row in ended.document["rows"] if row["table"].startswith(table)]


def test_what_real_verdicts_say(run_stb: Callable[..., Any], real_data: Path) -> None:
    """Six systems: 17 % judge; 1.77 points, 1.74 with twice the rounds, 1.25 with twice the queries."""
    run_stb("import", real_data / "pass_rate_results")

    ended = run_stb(
        *("experiment", "variance", *SYSTEMS, "--judge", "recorded", "--answer-cost", "0.01"),
        *("--verdict-cost", "0.001", "-o", "out", "--json"),
    )

    assert ended.code == 0
    mean = {row["whose"]: row["share"] for row in of(ended, "Sources of") if row["system"] == "mean of all"}
    assert mean == {"query": pytest.approx(82.7, abs=0.1), "judge": pytest.approx(17.3, abs=0.1)}
    query, rounds = (row for row in of(ended, "What") if row["system"] == "mean of all")
    assert (query["now"], rounds["limit"]) == pytest.approx((1.77, 1.71), abs=0.01)
    assert (query["double"], rounds["double"]) == pytest.approx((1.25, 1.74), abs=0.01)
    assert query["gain"] > 4 * rounds["gain"] > 0
    assert "best spent on more queries" in Path("out/README.md").read_text()
    assert Path("out/error.svg").read_text().startswith("<svg")


async def fill(store: Store) -> None:
    """Two runs of one agent with other simulators, two trials each, two judges with two rounds."""
    for number, simulator in enumerate(("one", "other")):
        made = [
            trajectory(str(query), trial=trial, answer=f"It is {query * (number + 1) + trial}.")
            for query in range(8)
            for trial in range(2)
        ]
        manifest = Manifest(
            dataset="d", dataset_hash="", agent="a", trials=2, server={"simulator": simulator}
        )
        run = await store.runs.create(simulator, manifest, {"G1_tool": [str(query) for query in range(8)]})
        await store.runs.put_trajectories(run.run, made)
        await store.verdicts.append(
            [
                Verdict(
                    run=run.run,
                    group=t.group,
                    query_id=t.query_id,
                    trial=t.trial,
                    judge=judge,
                    rubric="r",
                    round=round_,
                    status=Status.SOLVED
                    if (int(t.query_id) * 7 + number * 3 + t.trial * 5 + len(judge) * round_) % 4
                    else Status.UNSOLVED,
                    answer_hash=t.answer_hash,
                )
                for t in made
                for judge in ("j", "panel")
                for round_ in range(2)
            ]
        )


def test_runs_with_other_simulators_are_one_system(
    run_stb: Callable[..., Any], sqlite_store_url: str
) -> None:
    """Every source is told apart, and every one has its price."""

    async def make() -> None:
        store = await open_store(sqlite_store_url)
        await fill(store)
        await store.close()

    asyncio.run(make())

    ended = run_stb(
        *("experiment", "variance", "one", "other", "--judge", "j,panel", "--answer-cost", "0.1"),
        *("--verdict-cost", "0", "--json"),
    )

    assert ended.code == 0, ended.err
    shares = of(ended, "Sources of")
    assert {row["whose"] for row in shares} == {"query", "simulator", "trial of the agent", "judge"}
    assert {row["levels"] for row in shares} == {8, 2, 4}
    assert sum(row["share"] for row in shares) == pytest.approx(100)
    prices = {row["factor"]: row["price_usd"] for row in of(ended, "What")}
    assert prices == pytest.approx({"query": 0.4, "simulator": 1.6, "trial": 1.6, "judge": 0, "round": 0})


def test_one_verdict_each_cannot_be_split(run_stb: Callable[..., Any], sqlite_store_url: str) -> None:
    """One query is not enough; the error says what is needed."""

    async def make() -> None:
        store = await open_store(sqlite_store_url)
        await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {"G1_tool": ["1"]})
        one = trajectory("1")
        await store.runs.put_trajectories("r", [one])
        verdict = Verdict(
            run="r",
            group="G1_tool",
            query_id="1",
            judge="j",
            rubric="r",
            round=0,
            status=Status.SOLVED,
            answer_hash=one.answer_hash,
        )
        await store.verdicts.append([verdict])
        await store.close()

    asyncio.run(make())

    ended = run_stb("experiment", "variance", "r", "--judge", "j")

    assert ended.code == 2
    assert ended.err.startswith("stb: The variance of r cannot be split")
