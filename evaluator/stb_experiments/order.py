"""``order``: whether it matters in which order, how many at a time and beside whom a system is run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stb_core.values.provenance import DEFAULT_MODE
from stb_experiments.benches import Bench, Workshop
from stb_experiments.evidence import Evidence, differ, gather, macro_score
from stb_experiments.output import Result, Row, described

LIMITS = (
    "The systems are scripts: a language model's endpoint may well answer differently under load.",
    "In the modes that record new answers, the first to ask decides what all others get; these are not compared.",
)


@dataclass(frozen=True)
class Arm:
    """One way of running the systems on one server; ``connections`` trials of each at a time."""

    name: str
    connections: int = 16
    is_shuffled: bool = False
    is_reversed: bool = False
    is_together: bool = False


ARMS = (
    Arm("one query at a time", connections=1),
    Arm("16 queries at a time"),
    Arm("queries in another order", is_shuffled=True),
    Arm("systems in another order", is_reversed=True),
    Arm("systems interleaved", is_together=True),
)


async def order(
    workshop: Workshop,
    *,
    arms: Sequence[Arm] = ARMS,
    mode: str = DEFAULT_MODE.value,
    advance: Callable[[], None] = lambda: None,
) -> Result:
    """Run all systems in every arm, each on a server and a store of its own, and compare with the first.

    Raises:
        StbError: a step failed.
    """
    first: dict[str, Evidence] = {}
    rows: list[Row] = []
    for number, arm in enumerate(arms):
        found = await _run(workshop, arm, f"arm-{number + 1}", mode)
        first = first or found
        rows += [_row(arm, agent, first[agent], found[agent]) for agent in workshop.plan.agents]
        advance()
    differing = sum(row["differing_bytes"] for row in rows)
    finding = (
        f"{len(workshop.plan.agents)} systems in {len(arms)} orders: {differing} bytes of trajectories, calls,"
        f" verdicts or scores differ from those of the first."
    )
    return Result(
        name="order",
        title="Other orders, other company",
        rows=rows,
        tables={
            "": (
                *("arm", "agent", "n", "score:score, macro %", "change:change, points"),
                *("differing_trajectories:other trajectories", "differing_scores:other scores"),
                *("differing_bytes:differing bytes", "fault", "first_difference:first difference"),
            )
        },
        settings={**described(workshop.original), **workshop.plan.document(), "mode": mode},
        passed=differing == 0,
        says=(finding,),
        limits=LIMITS,
        commands=workshop.commands,
    )


async def _run(workshop: Workshop, arm: Arm, name: str, mode: str) -> dict[str, Evidence]:
    original = workshop.original
    if arm.is_shuffled:
        original = original.shuffled(workshop.plan.seed)
    agents = workshop.plan.agents[::-1] if arm.is_reversed else workshop.plan.agents
    async with workshop.bench(name, original=original) as bench:
        async with bench.serving("--mode", mode) as url:
            runs = await _solve_all(bench, agents, url, arm)
        return {
            agent: await gather(bench.database_url, run, await bench.judge(run))
            for agent, run in runs.items()
        }


async def _solve_all(bench: Bench, agents: tuple[str, ...], url: str, arm: Arm) -> dict[str, str]:
    if not arm.is_together:
        return {agent: await bench.solve(agent, url, connections=arm.connections) for agent in agents}
    async with asyncio.TaskGroup() as group:
        tasks = {
            agent: group.create_task(bench.solve(agent, url, connections=arm.connections)) for agent in agents
        }
    return {agent: task.result() for agent, task in tasks.items()}


def _row(arm: Arm, agent: str, first: Evidence, here: Evidence) -> Row:
    difference = differ(first, here)
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
