"""``order``: whether a score depends on the order of queries and systems, on concurrency, or on other systems."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stb_core.values import DEFAULT_MODE
from stb_experiments.benches import Bench, BenchMaker
from stb_experiments.evidence import Evidence, compare_evidence, gather_evidence, macro_score
from stb_experiments.output import ExperimentRow, Result, describe_original

LIMITS = (
    "The systems are scripts: the endpoint of a language model may well answer differently under load.",
    "Modes that record new answers are not compared: there the first system to ask decides what all others get.",
)


@dataclass(frozen=True)
class OrderArm:
    """One way of running the systems on one server, with ``connections`` concurrent trials of each."""

    name: str
    connections: int = 16
    is_shuffled: bool = False
    is_reversed: bool = False
    is_together: bool = False


ARMS = (
    OrderArm("one query at a time", connections=1),
    OrderArm("16 queries at a time"),
    OrderArm("queries in another order", is_shuffled=True),
    OrderArm("systems in another order", is_reversed=True),
    OrderArm("systems interleaved", is_together=True),
)


async def measure_order(
    maker: BenchMaker,
    *,
    arms: Sequence[OrderArm] = ARMS,
    mode: str = DEFAULT_MODE.value,
    advance: Callable[[], None] = lambda: None,
) -> Result:
    """Run all systems in every arm, each with a new server and store, and compare them with the first arm.

    Raises:
        StbError: a step failed.
    """
    first: dict[str, Evidence] = {}
    rows: list[ExperimentRow] = []
    for number, arm in enumerate(arms):
        found = await _run(maker, arm, f"arm-{number + 1}", mode)
        first = first or found
        rows += [_row(arm, agent, first[agent], found[agent]) for agent in maker.plan.agents]
        advance()
    differing = sum(row["differing_bytes"] for row in rows)
    finding = (
        f"{len(maker.plan.agents)} systems in {len(arms)} orders: {differing} bytes of trajectories, calls,"
        f" verdicts or scores differ from those of the first."
    )
    return Result(
        name="order",
        title="Order and concurrency",
        rows=rows,
        tables={
            "": (
                *("arm", "agent", "n", "score:score, macro %", "change:change, points"),
                *("differing_trajectories:other trajectories", "differing_scores:other scores"),
                *("differing_bytes:differing bytes", "fault", "first_difference:first difference"),
            )
        },
        settings={**describe_original(maker.original), **maker.plan.document(), "mode": mode},
        passed=differing == 0,
        says=(finding,),
        limits=LIMITS,
        commands=maker.commands,
    )


async def _run(maker: BenchMaker, arm: OrderArm, name: str, mode: str) -> dict[str, Evidence]:
    original = maker.original
    if arm.is_shuffled:
        original = original.shuffled(maker.plan.seed)
    agents = maker.plan.agents[::-1] if arm.is_reversed else maker.plan.agents
    async with maker.bench(name, original=original) as bench:
        async with bench.serving("--mode", mode) as url:
            runs = await _solve_all(bench, agents, url, arm)
        return {
            agent: await gather_evidence(bench.database_url, run, await bench.judge(run))
            for agent, run in runs.items()
        }


async def _solve_all(bench: Bench, agents: tuple[str, ...], url: str, arm: OrderArm) -> dict[str, str]:
    if not arm.is_together:
        return {agent: await bench.solve(agent, url, connections=arm.connections) for agent in agents}
    async with asyncio.TaskGroup() as group:
        tasks = {
            agent: group.create_task(bench.solve(agent, url, connections=arm.connections)) for agent in agents
        }
    return {agent: task.result() for agent, task in tasks.items()}


def _row(arm: OrderArm, agent: str, first: Evidence, here: Evidence) -> ExperimentRow:
    difference = compare_evidence(first, here)
    before, after = macro_score(first), macro_score(here)
    return {
        "arm": arm.name,
        "agent": agent,
        "n": len(here.parts["trajectories"]),
        "score": after,
        "change": None if before is None or after is None else after - before,
        "differing_trajectories": difference.entries["trajectories"],
        "differing_scores": difference.entries["scores"],
        "differing_bytes": difference.total,
        "first_difference": difference.first,
        "fault": difference.fault,
    }
