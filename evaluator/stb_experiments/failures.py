"""``failures``: how scores change while more and more of the real APIs are down."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence

import orjson

from stb_core.store import Response, open_store
from stb_evaluator.judges import panel_of_one
from stb_evaluator.scores import QueryPlace, load_verdict_table, query_scores
from stb_experiments.benches import Bench, BenchMaker
from stb_experiments.evidence import calls_of
from stb_experiments.failing_apis import serving_apis
from stb_experiments.outcomes import ORIGINS, FailureArm, FailureRun, failure_row, query_rows
from stb_experiments.output import ExperimentRow, Result, describe_original
from stb_experiments.plots import LineChart

LEVELS = (0.0, 0.1, 0.2, 0.5, 1.0)
LIMITS = (
    "The agents are scripts and the judge is a rule: how far scores fall says nothing about language models.",
    "A server that answers from the recordings stands in for the real APIs; a call that was never recorded always fails.",
    "Equivalence is tested on these queries with these APIs down; another seed draws others.",
)

ARMS = (
    FailureArm("live", ("--mode", "live", "--simulator", "none"), is_live=True),
    FailureArm("cache", ("--mode", "auto", "--simulator", "none")),
    FailureArm("cache + simulator", ("--mode", "auto", "--simulator", "template")),
    FailureArm("part of the cache", ("--mode", "auto", "--simulator", "none"), is_partial=True),
    FailureArm(
        "part of the cache + simulator", ("--mode", "auto", "--simulator", "template"), is_partial=True
    ),
)


async def measure_failures(
    maker: BenchMaker,
    *,
    arms: Sequence[FailureArm] = ARMS,
    levels: Sequence[float] = LEVELS,
    known: float = 0.5,
    advance: Callable[[], None] = lambda: None,
) -> Result:
    """Run the agents in every arm at every level, and compare each with the same arm at the first level.

    Args:
        maker: of the dataset and the agents.
        arms: ways of answering calls.
        levels: shares of APIs that are down, in [0, 1]; the others are compared with the first.
        known: share of the recordings, in [0, 1], with which the arms with a part of the cache begin.
        advance: called after each arm and level.

    Raises:
        StbError: a step failed.
    """
    rows: list[ExperimentRow] = []
    data: list[ExperimentRow] = []
    for number, arm in enumerate(arms):
        first: dict[str, FailureRun] = {}
        for level in levels:
            found = await _run(maker, arm, level, known, f"arm-{number + 1}-{level:g}")
            first = first or found
            for agent, here in found.items():
                rows.append(failure_row(arm, agent, level, first[agent], here))
                data += query_rows(arm, agent, level, here)
            advance()
    return _result(maker, arms, rows, data, levels, known)


async def _run(
    maker: BenchMaker, arm: FailureArm, level: float, known: float, name: str
) -> dict[str, FailureRun]:
    seed = maker.plan.seed
    original = maker.original
    if arm.is_partial:
        original = original.with_responses(lambda response: _is_known(response, known, seed))
    keys = frozenset(response.key for response in original.responses) if not arm.is_live else frozenset()
    found: dict[str, FailureRun] = {}
    async with serving_apis(maker.original.responses, level, seed) as apis:
        for agent in maker.plan.agents:
            # Each agent has a new store, so that it finds nothing that another has recorded.
            async with maker.bench(f"{name}-{len(found)}", original=original) as bench:
                upstream = bench.steps.folder / "upstream.yaml"
                upstream.write_bytes(_upstream(apis))
                async with bench.serving(*arm.options, "--upstream", upstream.name) as url:
                    run = await bench.solve(agent, url)
                found[agent] = await _outcome(bench, run, keys)
    return found


def _is_known(response: Response, share: float, seed: int) -> bool:
    digest = hashlib.sha256(f"{seed}\0{response.key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def _upstream(url: str) -> bytes:
    limits = {"allowed_networks": ["127.0.0.0/8"]}
    return orjson.dumps({"limits": limits, "default_host": {"concurrency": 64}, "proxy": {"url": url}})


async def _outcome(bench: Bench, run: str, keys: frozenset[str]) -> FailureRun:
    rows = await bench.judge(run)
    store = await open_store(bench.database_url, migrate=False)
    try:
        found = await store.runs.get(run)
        table = await load_verdict_table(
            store, found, panel_of_one(rows[0]["judge"], rows[0]["rubric"]), rounds=None
        )
        hashes: dict[QueryPlace, str] = {}
        recorded: dict[str, str] = {}
        origins: Counter[str] = Counter()
        async for trajectory in store.runs.trajectories(run):
            hashes[trajectory.group, trajectory.query_id] = trajectory.content_hash
            for step in calls_of(trajectory):
                origins[step.provenance or "refused"] += 1
                if step.key in keys:
                    recorded[step.key or ""] = step.observation
    finally:
        await store.close()
    return FailureRun(query_scores(table), hashes, recorded, origins)


def _changes(arm: FailureArm, agent: str, agents: Sequence[str], rows: Sequence[ExperimentRow]) -> str:
    """How the score of an agent changes in one arm, at each level after the first."""
    mine = [row["change"] for row in rows if (row["arm"], row["agent"]) == (arm.name, agent)]
    whose = f"{arm.name}, {agent}" if len(agents) > 1 else arm.name
    return f"{whose} " + ", ".join(f"{change:+.2f}" for change in mine[1:])


def _result(
    maker: BenchMaker,
    arms: Sequence[FailureArm],
    rows: list[ExperimentRow],
    data: list[ExperimentRow],
    levels: Sequence[float],
    known: float,
) -> Result:
    agents = maker.plan.agents
    full = {arm.name for arm in arms if not arm.is_partial and not arm.is_live}
    moved = max((abs(row["change"]) for row in rows if row["arm"] in full), default=0.0)
    changed = sum(row["changed_recorded"] for row in rows)
    shown = ", ".join(f"{100 * level:g}" for level in levels[1:])
    finding = (
        f"Change of the score in points on {len(maker.original.queries)} queries, with {shown} % of the APIs"
        f" down: {'; '.join(_changes(arm, agent, agents, rows) for arm in arms for agent in agents)}."
        f" {changed} answers of recorded calls changed."
    )
    lines = {
        (arm.name if len(agents) == 1 else f"{arm.name}, {agent}"): [
            (row["down"], row["score"]) for row in rows if row["arm"] == arm.name and row["agent"] == agent
        ]
        for agent in agents
        for arm in arms
    }
    return Result(
        name="failures",
        title="APIs that fail",
        rows=rows,
        tables={
            "": (
                *("arm", "agent", "down:down %", "n", "score:score, macro %", "change:change, points"),
                *("ci_low:90 % low", "ci_high:90 % high", "outcome"),
                *("changed_trajectories:changed trajectories", "changed_recorded:changed recorded answers"),
                *(f"calls_{name}:{name}" for name in ORIGINS),
            )
        },
        settings={
            **describe_original(maker.original),
            **maker.plan.document(),
            "down_percent": [100 * level for level in levels],
            "known_percent": 100 * known,
        },
        # The replies of a model vary by themselves; the answers of recorded calls must not.
        passed=changed == 0 and (moved == 0 or bool(maker.plan.model)),
        says=(finding,),
        limits=LIMITS,
        data=data,
        charts=[LineChart("scores", "Score while APIs are down", "APIs down, %", "SoPR, macro %", lines)],
        commands=maker.commands,
    )
