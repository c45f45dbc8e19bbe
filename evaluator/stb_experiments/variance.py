"""``variance``: where the randomness of stored scores comes from, and what more of each source would gain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stb_core.errors import UsageError
from stb_core.store import Run, Store
from stb_core.values import SOPR, content_hash
from stb_evaluator.judges import Panel, panel_of_one
from stb_evaluator.scores import RunReader, faithful_table, load_verdict_table, without_copies
from stb_evaluator.statistics import (
    AXES,
    UNKNOWN,
    Components,
    Counts,
    Observations,
    Prices,
    VarianceSource,
    codes,
    counts_of,
    mean_components,
    offers,
    share_ends,
    shares,
    sources_of,
    split,
)
from stb_experiments.output import ExperimentRow, Result
from stb_experiments.variance_tables import (
    SHARES,
    TABLES,
    describe_variance,
    error_chart,
    offer_row,
    share_rows,
)

MEAN = "mean of all"
LIMITS = (
    "Where something was done only once, its share is part of another: that of a single trial is part of the query's.",
    "With one simulator, or one judge, what is particular to it is in no share.",
    "Shares are those of a single verdict; the error of a score over many queries is in the second table.",
    "Intervals resample queries, but not simulators or judges, of which there are few.",
)


@dataclass(frozen=True)
class System:
    """Runs that differ only in trials and simulators, with the prices of an answer and of a verdict."""

    name: str
    seen: Observations
    prices: Prices
    left_out: int


async def split_variance(
    store: Store,
    runs: Sequence[Run],
    panel: Panel,
    *,
    rounds: int | None = None,
    prices: Prices = UNKNOWN,
    seed: int = 0,
) -> Result:
    """Split the variance of the faithful points of runs, system by system.

    Runs of one agent, model and dataset are one system. Those that differ in simulator, mode or recordings are levels
    of the simulator, others are further trials. The members of a panel are the judges.
    ``prices`` go before those that are on record.

    Raises:
        UsageError: the variance cannot be split, because everything was done only once.
    """
    by_system: dict[str, list[Run]] = {}
    for run in runs:
        by_system.setdefault(_system_key(run), []).append(run)
    systems = [await _system(store, mine, panel, rounds, prices) for mine in by_system.values()]
    found: dict[str, tuple[Components, Counts, Prices]] = {}
    rows: list[ExperimentRow] = []
    kinds: set[tuple[VarianceSource, ...]] = set()
    for system in systems:
        sources = sources_of(system.seen)
        kinds.add(tuple(sources))
        try:
            components = split(system.seen, sources)
            ends = share_ends(system.seen, sources, seed=seed)
        except ValueError as problem:
            raise UsageError(
                f"The variance of {system.name} cannot be split: {problem}",
                hint="Several queries are needed, and more than one of trials, simulators, judges or rounds.",
            ) from None
        found[system.name] = components, counts_of(system.seen), system.prices
        rows += share_rows(system.name, components, counts_of(system.seen), ends, system.left_out)
    if len(found) > 1 and len(kinds) == 1:
        all_components = mean_components([one for one, _, _ in found.values()])
        first = next(iter(found.values()))
        found[MEAN] = all_components, first[1], _mean_prices([p for _, _, p in found.values()])
        rows += [
            {"table": SHARES, "system": MEAN, "whose": whose, "share": 100 * share}
            for whose, share in shares(all_components).items()
        ]
    bought = {name: offers(*one) for name, one in found.items()}
    for name, mine in bought.items():
        rows += [offer_row(name, offer) for offer in mine]
    shown = MEAN if MEAN in found else systems[0].name
    return Result(
        name="variance",
        title="Where the uncertainty of a score comes from",
        rows=rows,
        tables=TABLES,
        settings={
            "runs": [run.run for run in runs],
            "manifest_hashes": [run.manifest.hash for run in runs],
            "judge": panel.name,
            "rubric": panel.rubric,
            "answer_cost_usd": prices.answer,
            "verdict_cost_usd": prices.verdict,
            "seed": seed,
        },
        passed=True,
        says=describe_variance(shown, *found[shown][:2], bought[shown]),
        limits=LIMITS,
        charts=[error_chart(*found[shown][:2])],
    )


def _system_key(run: Run) -> str:
    manifest = run.manifest
    return content_hash(
        [
            *(manifest.dataset, manifest.dataset_hash, manifest.agent, manifest.agent_settings),
            *(manifest.agent_hash, manifest.model, manifest.model_settings),
            *((manifest.agent_version,) if manifest.agent_version else ()),
        ]
    )


def _simulator(run: Run) -> str:
    """Identifies what answers the agent's calls."""
    manifest = run.manifest
    return content_hash([manifest.mode, manifest.snapshot_hash, manifest.server])


async def _system(
    store: Store, runs: Sequence[Run], panel: Panel, rounds: int | None, prices: Prices
) -> System:
    scores: list[float] = []
    labels: dict[str, list[str]] = {axis: [] for axis in AXES}
    groups: list[str] = []
    left_out = 0
    for run in runs:
        for member in panel.members:
            one = panel_of_one(member.judge, member.rubric)
            verdict_table = without_copies(await load_verdict_table(store, run, one, rounds=rounds))
            for group in verdict_table.expected:
                table = faithful_table(verdict_table, group)
                known = ~np.isnan(table.points)
                left_out += int((~known).sum())
                for query, trial, number in zip(*np.nonzero(known), strict=True):
                    scores.append(float(table.points[query, trial, number]))
                    groups.append(group)
                    place = f"{group}/{table.ids[query]}"
                    values = (place, _simulator(run), f"{run.run}/{trial}", member.judge, str(number))
                    for axis, value in zip(AXES, values, strict=True):
                        labels[axis].append(value)
    name = runs[0].run if len(runs) == 1 else f"{runs[0].agent} ({len(runs)} runs)"
    if not scores:
        raise UsageError(f"{name} has no verdicts.", hint="Run stb score first.")
    seen = Observations(
        np.array(scores),
        {axis: codes(values, len(scores), axis) for axis, values in labels.items()},
        codes(groups, len(scores), "groups"),
    )
    return System(name, seen, await _prices(store, runs, panel, prices), left_out)


async def _prices(store: Store, runs: Sequence[Run], panel: Panel, given: Prices) -> Prices:
    """USD for one answer and one verdict: as given, otherwise the stored mean; None where it is not known."""
    answers = verdicts = 0
    paid: dict[str, float | None] = {"agent": None, "simulator": None, "judge": None}
    for run in runs:
        answers += len(await store.runs.done(run.run))
        for member in panel.members:
            marks = await store.verdicts.marks(run.run, metric=SOPR, judge=member.judge, rubric=member.rubric)
            verdicts += len(marks)
        for account in (await RunReader(store, run).accounts(panel, metric=SOPR)).values():
            costs = {
                "agent": account.agent_cost_usd,
                "simulator": account.simulator_cost_usd,
                "judge": account.judge_cost_usd,
            }
            for payer, cost in costs.items():
                if cost is not None:
                    paid[payer] = (paid[payer] or 0.0) + cost
    known = [cost for cost in (paid["agent"], paid["simulator"]) if cost is not None]
    answer = sum(known) / answers if known and answers else None
    verdict = None if paid["judge"] is None or not verdicts else paid["judge"] / verdicts
    return Prices(
        answer if given.answer is None else given.answer,
        verdict if given.verdict is None else given.verdict,
    )


def _mean_prices(several: Sequence[Prices]) -> Prices:
    answers = [one.answer for one in several if one.answer is not None]
    verdicts = [one.verdict for one in several if one.verdict is not None]
    if len(answers) < len(several) or len(verdicts) < len(several):
        return Prices()
    return Prices(float(np.mean(answers)), float(np.mean(verdicts)))
