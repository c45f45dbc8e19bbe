"""``failures``: what becomes of a score while more and more of the real APIs are down."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import orjson

from stb_core.store import open_store
from stb_core.store.responses import Response
from stb_evaluator.experiments.benches import Bench, Workshop
from stb_evaluator.experiments.evidence import calls_of
from stb_evaluator.experiments.failing_apis import serving_apis
from stb_evaluator.experiments.output import Result, Row, described
from stb_evaluator.experiments.plots import LineChart
from stb_evaluator.juries import jury_of
from stb_evaluator.loading import load_sheet
from stb_evaluator.paired import Equivalence, equivalence
from stb_evaluator.sampling import design_of
from stb_evaluator.scores import query_scores

LEVELS = (0.0, 0.1, 0.2, 0.5, 1.0)
MARGIN = 0.015
LIMITS = (
    "The agents are scripts and the judge is a rule: how far scores fall says nothing about language models.",
    "Real APIs are played by a server that answers from the recordings; what was never recorded always fails.",
    "Equivalence is tested on these queries with these APIs down; another seed draws others.",
)

Place = tuple[str, str]


@dataclass(frozen=True)
class Arm:
    """One way of answering calls: the server's options, and whether its cache has but a part."""

    name: str
    options: tuple[str, ...]
    is_partial: bool = False
    is_live: bool = False


ARMS = (
    Arm("live", ("--mode", "live", "--simulator", "none"), is_live=True),
    Arm("cache", ("--mode", "auto", "--simulator", "none")),
    Arm("cache + simulator", ("--mode", "auto", "--simulator", "template")),
    Arm("part of the cache", ("--mode", "auto", "--simulator", "none"), is_partial=True),
    Arm("part of the cache + simulator", ("--mode", "auto", "--simulator", "template"), is_partial=True),
)


@dataclass(frozen=True)
class Outcome:
    """One run: the score of each query in [0, 1], hashes of trajectories, answers of recorded calls."""

    scores: Mapping[Place, float]
    hashes: Mapping[Place, str]
    recorded: Mapping[str, str]
    origins: Counter[str] = field(default_factory=Counter)


async def failures(
    workshop: Workshop,
    *,
    arms: Sequence[Arm] = ARMS,
    levels: Sequence[float] = LEVELS,
    known: float = 0.5,
    advance: Callable[[], None] = lambda: None,
) -> Result:
    """Run the agents in every arm at every level, and compare each with the same arm at the first level.

    Args:
        workshop: dataset and agents.
        arms: ways of answering calls.
        levels: shares of APIs that are down, the first being what the others are compared with.
        known: share of the recordings that the arms with a part of the cache begin with.
        advance: called after each arm and level.

    Raises:
        StbError: a step failed.
    """
    rows: list[Row] = []
    data: list[Row] = []
    for number, arm in enumerate(arms):
        first: dict[str, Outcome] = {}
        for level in levels:
            found = await _run(workshop, arm, level, known, f"arm-{number + 1}-{level:g}")
            first = first or found
            for agent, here in found.items():
                rows.append(_row(arm, agent, level, first[agent], here))
                data += _data(arm, agent, level, here)
            advance()
    return _result(workshop, arms, rows, data, levels, known)


async def _run(workshop: Workshop, arm: Arm, level: float, known: float, name: str) -> dict[str, Outcome]:
    seed = workshop.plan.seed
    original = workshop.original
    if arm.is_partial:
        original = original.knowing(lambda response: _is_known(response, known, seed))
    keys = frozenset(response.key for response in original.responses) if not arm.is_live else frozenset()
    found: dict[str, Outcome] = {}
    async with serving_apis(workshop.original.responses, level, seed) as apis:
        for agent in workshop.plan.agents:
            # Each agent has a store of its own, so that none finds what another has recorded.
            async with workshop.bench(f"{name}-{len(found)}", original=original) as bench:
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


async def _outcome(bench: Bench, run: str, keys: frozenset[str]) -> Outcome:
    rows = await bench.judge(run)
    store = await open_store(bench.database_url, migrate=False)
    try:
        found = await store.runs.get(run)
        sheet = await load_sheet(store, found, jury_of(rows[0]["judge"], rows[0]["rubric"]), rounds=None)
        hashes: dict[Place, str] = {}
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
    return Outcome(query_scores(sheet), hashes, recorded, origins)


def _row(arm: Arm, agent: str, level: float, first: Outcome, here: Outcome) -> Row:
    test = compared(first, here)
    calls = sum(here.origins.values())
    return {
        "arm": arm.name,
        "agent": agent,
        "down": 100 * level,
        "n": len(here.scores),
        "score": 100 * macro(here.scores),
        "change": 100 * test.difference,
        "ci_low": 100 * test.interval.low,
        "ci_high": 100 * test.interval.high,
        "margin": 100 * MARGIN,
        "outcome": _outcome_word(first, here, test),
        "equivalent": test.equivalent,
        "p_equivalence": test.p,
        "changed_trajectories": sum(here.hashes[place] != first.hashes[place] for place in here.hashes),
        "changed_recorded": changed_recorded(first, here),
        "recorded_calls": len(here.recorded),
        "calls": calls,
        **{f"calls_{name.replace('-', '_')}": here.origins[name] for name in _ORIGINS},
    }


def _outcome_word(first: Outcome, here: Outcome, test: Equivalence) -> str:
    """``identical`` in every trajectory and score, ``equivalent``, ``different`` or ``undecided``."""
    if here.hashes == first.hashes and here.scores == first.scores:
        return "identical"
    if test.equivalent:
        return "equivalent"
    return "undecided" if test.interval.low <= 0 <= test.interval.high else "different"


_ORIGINS = ("recorded", "live", "template", "miss")


def compared(first: Outcome, here: Outcome) -> Equivalence:
    """Whether a run's score is that of the first within the margin, query by query."""
    places = sorted(first.scores.keys() & here.scores.keys())
    before, after = ([outcome.scores[place] for place in places] for outcome in (first, here))
    return equivalence(after, before, MARGIN, groups=[group for group, _ in places])


def macro(scores: Mapping[Place, float]) -> float:
    """The mean of the groups' means, in [0, 1]."""
    places = sorted(scores)
    design = design_of(len(places), groups=[group for group, _ in places])
    return float(design.estimate(np.array([scores[place] for place in places])))


def changed_recorded(first: Outcome, here: Outcome) -> int:
    """How many calls that had a recording from the beginning were answered otherwise than before."""
    return sum(
        here.recorded[key] != first.recorded[key] for key in here.recorded.keys() & first.recorded.keys()
    )


def _data(arm: Arm, agent: str, level: float, here: Outcome) -> list[Row]:
    return [
        {
            "arm": arm.name,
            "agent": agent,
            "down": 100 * level,
            "group": group,
            "query_id": query_id,
            "score": score,
            "content_hash": here.hashes.get((group, query_id), ""),
        }
        for (group, query_id), score in here.scores.items()
    ]


def _result(
    workshop: Workshop,
    arms: Sequence[Arm],
    rows: list[Row],
    data: list[Row],
    levels: Sequence[float],
    known: float,
) -> Result:
    agents = workshop.plan.agents
    full = {arm.name for arm in arms if not arm.is_partial and not arm.is_live}
    moved = max((abs(row["change"]) for row in rows if row["arm"] in full), default=0.0)
    changed = sum(row["changed_recorded"] for row in rows)
    live = {arm.name for arm in arms if arm.is_live}
    lost = max((-row["change"] for row in rows if row["arm"] in live), default=0.0)
    finding = (
        f"With up to {100 * max(levels):g} % of the APIs down the live score falls by up to {lost:.1f} points."
        f" Where the recordings are in the cache it moves by {moved:.1f}; {changed} answers of recorded calls"
        " changed."
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
                *(f"calls_{name}:{name}" for name in _ORIGINS),
            )
        },
        settings={
            **described(workshop.original),
            **workshop.plan.document(),
            "down_percent": [100 * level for level in levels],
            "known_percent": 100 * known,
        },
        # What a model says varies of itself; what it is told must not.
        passed=changed == 0 and (moved == 0 or bool(workshop.plan.model)),
        says=(finding,),
        limits=LIMITS,
        data=data,
        charts=[LineChart("scores", "Score while APIs are down", "APIs down, %", "SoPR, macro %", lines)],
        commands=workshop.commands,
    )
