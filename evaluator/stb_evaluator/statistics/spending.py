"""Where the variance of a score comes from, and what an extra dollar would buy: queries, trials or rounds; pure.

Scores of a system are labelled by query, simulator, trial, judge and round. Which of them can be told
apart depends on which have several levels: with one trial per query the agent's own chance is a part of
the query's share, and so on. What an answer is judged by is nested in the answer, that in the query;
simulators and judges are crossed with queries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stb_evaluator.statistics.sampling import Array, Codes, design_of
from stb_evaluator.statistics.variance import (
    Components,
    VarianceSource,
    purchases,
    standard_error,
    variance_components,
)

AXES = ("query", "simulator", "trial", "judge", "round")
QUERY, SIMULATOR, TRIAL, JUDGE, ROUND = AXES
GROUP = "group"
WHOSE = {
    GROUP: "query",
    QUERY: "query",
    SIMULATOR: "simulator",
    TRIAL: "trial of the agent",
    JUDGE: "judge",
    ROUND: "judge",
}
DRAWS = 200


@dataclass(frozen=True, eq=False)
class Observations:
    """Scores in [0, 1], shape (N,), with a label of each factor per score, and the group of each query.

    ``labels`` has all of ``AXES``; a query's label holds its group, a trial's its run.
    """

    scores: Array
    labels: Mapping[str, Codes]
    group: Codes

    def levels(self, factor: str) -> int:
        """How many there are of a factor in all; of trials, simulators, judges, rounds see ``counts_of``."""
        return len(np.unique(self.labels[factor]))


def sources_of(seen: Observations) -> list[VarianceSource]:
    """What can be separated in these scores, from the outermost to the innermost.

    Simulators and judges also shift all queries alike, which is a source of its own.
    """
    many = {factor for factor in AXES if _per(seen, factor) > 1}
    answer = [QUERY, *(factor for factor in (SIMULATOR, TRIAL) if factor in many)]
    sources: list[VarianceSource] = [(GROUP,)] if len(np.unique(seen.group)) > 1 else []
    sources.append((QUERY,))
    if SIMULATOR in many:
        sources += [(SIMULATOR,), (QUERY, SIMULATOR)]
    if TRIAL in many:
        sources.append(tuple(answer))
    if JUDGE in many:
        sources += [(JUDGE,), (*answer, JUDGE)]
    if ROUND in many:
        sources.append((*answer, *([JUDGE] if JUDGE in many else []), ROUND))
    return sources


def _per(seen: Observations, factor: str) -> int:
    """Most levels of a factor within one combination of those that it is nested in."""
    outer = {QUERY: (), SIMULATOR: (QUERY,), TRIAL: (QUERY, SIMULATOR)}.get(
        factor, (QUERY, SIMULATOR, TRIAL) if factor == JUDGE else (QUERY, SIMULATOR, TRIAL, JUDGE)
    )
    if not outer:
        return seen.levels(factor)
    pairs = np.unique(np.column_stack([seen.labels[name] for name in (*outer, factor)]), axis=0)
    _, counts = np.unique(pairs[:, :-1], axis=0, return_counts=True)
    return int(counts.max())


def split(seen: Observations, sources: Sequence[VarianceSource]) -> Components:
    """The variance of each source; ValueError if they cannot be separated."""
    return variance_components(seen.scores, {**seen.labels, GROUP: seen.group}, sources)


def shares(components: Components) -> dict[str, float]:
    """Whose part of the variance of a single verdict is how large: by the innermost factor of a source.

    That simulators or judges differ on single queries counts as theirs.
    """
    found: dict[str, float] = {}
    for source, share in components.shares.items():
        whose = WHOSE[source[-1]]
        found[whose] = found.get(whose, 0.0) + share
    return found


def share_ends(
    seen: Observations, sources: Sequence[VarianceSource], *, seed: int = 0, draws: int = DRAWS
) -> dict[str, tuple[float, float]]:
    """Ends of 95 % intervals of the shares: queries drawn again within their groups."""
    rng = np.random.default_rng(seed)
    query = seen.labels[QUERY]
    group_of = np.zeros(int(query.max()) + 1, dtype=np.intp)
    group_of[query] = seen.group
    there = np.unique(query)
    rows_of = {number: np.flatnonzero(query == number) for number in there}
    found: dict[str, list[float]] = {}
    for _ in range(draws):
        chosen = np.concatenate(
            [
                rng.choice(mine, len(mine))
                for group in np.unique(seen.group)
                if len(mine := there[group_of[there] == group])
            ]
        )
        rows = np.concatenate([rows_of[number] for number in chosen])
        labels = {name: codes[rows] for name, codes in seen.labels.items()}
        labels[QUERY] = np.repeat(np.arange(len(chosen)), [len(rows_of[number]) for number in chosen])
        for whose, share in shares(
            split(Observations(seen.scores[rows], labels, seen.group[rows]), sources)
        ).items():
            found.setdefault(whose, []).append(share)
    return {
        whose: (float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975)))
        for whose, drawn in found.items()
    }


@dataclass(frozen=True)
class Counts:
    """How much of everything a score was made of: queries in all, of the others per query or answer."""

    queries: int
    effective: float
    simulators: int
    trials: int
    judges: int
    rounds: int

    def by_factor(self, *, queries: float = 1.0) -> dict[str, float]:
        """As ``standard_error`` takes them, the queries multiplied; the groups are fixed."""
        return {
            GROUP: math.inf,
            QUERY: self.effective * queries,
            SIMULATOR: self.simulators,
            TRIAL: self.trials,
            JUDGE: self.judges,
            ROUND: self.rounds,
        }


def counts_of(seen: Observations) -> Counts:
    """Counted in the scores; where queries differ, the most that one has."""
    first = np.unique(seen.labels[QUERY], return_index=True)[1]
    return Counts(
        queries=len(first),
        effective=design_of(len(first), groups=seen.group[first].tolist(), weighting="macro").effective_n,
        simulators=_per(seen, SIMULATOR),
        trials=_per(seen, TRIAL),
        judges=_per(seen, JUDGE),
        rounds=_per(seen, ROUND),
    )


@dataclass(frozen=True)
class Prices:
    """USD for one answer (agent and simulator) and for one verdict; None where nobody knows."""

    answer: float | None = None
    verdict: float | None = None

    def of_one_more(self, factor: str, counts: Counts) -> float | None:
        """What one more of a factor costs, everything else being as it is."""
        if self.answer is None or self.verdict is None:
            return None
        verdicts = counts.judges * counts.rounds * self.verdict
        answers = counts.simulators * counts.trials
        return {
            QUERY: answers * (self.answer + verdicts),
            TRIAL: counts.queries * counts.simulators * (self.answer + verdicts),
            SIMULATOR: counts.queries * counts.trials * (self.answer + verdicts),
            JUDGE: counts.queries * answers * counts.rounds * self.verdict,
            ROUND: counts.queries * answers * counts.judges * self.verdict,
        }[factor]


UNKNOWN = Prices()


@dataclass(frozen=True)
class Offer:
    """What more of one factor does to the standard error of the macro score, in [0, 1].

    ``dollar`` is the standard error after one more dollar was spent on this factor alone.
    """

    factor: str
    count: float
    now: float
    one_more: float
    double: float
    limit: float
    price: float | None
    dollar: float | None


def offers(components: Components, counts: Counts, prices: Prices) -> list[Offer]:
    """Every factor that the components tell of, with what more of it would buy."""
    found: list[Offer] = []
    for bought in purchases(components, counts.by_factor()):
        factor = bought.factor
        if factor == GROUP:
            continue
        price = prices.of_one_more(factor, counts)
        grown = counts.by_factor()
        # One more query is one of all queries; the effective number grows in proportion.
        unit = counts.effective / counts.queries if factor == QUERY else 1.0
        if price:
            grown[factor] += unit / price
        found.append(
            Offer(
                factor=factor,
                count=counts.queries if factor == QUERY else bought.count,
                now=bought.now,
                one_more=standard_error(
                    components, {**counts.by_factor(), factor: counts.by_factor()[factor] + unit}
                ),
                double=bought.double,
                limit=bought.limit,
                price=price,
                dollar=standard_error(components, grown) if price else None,
            )
        )
    return found


def mean_components(several: Sequence[Components]) -> Components:
    """The mean of each source's variance over systems that have the same sources."""
    sources = several[0].variances
    return Components(
        {source: float(np.mean([one.variances[source] for one in several])) for source in sources},
        {source: float(np.mean([one.raw[source] for one in several])) for source in sources},
        sum(one.n for one in several),
    )
