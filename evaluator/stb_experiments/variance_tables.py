"""The result of ``variance`` as rows, sentences and a chart; pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stb_evaluator.statistics import (
    AXES,
    JUDGE,
    QUERY,
    ROUND,
    SIMULATOR,
    TRIAL,
    Components,
    Counts,
    Offer,
    shares,
    standard_error,
)
from stb_experiments.output import ExperimentRow
from stb_experiments.plots import LineChart

SHARES = "Sources of the variance of a single verdict"
OFFERS = "What more would buy: the standard error of the macro score, in points"
TABLES = {
    SHARES: (
        *("system", "whose", "share:share %", "ci_low:95 % low", "ci_high:95 % high"),
        *("levels", "answers", "left_out:left out"),
    ),
    OFFERS: (
        *("system", "factor", "count", "now", "one_more:one more", "double:twice as many"),
        *("limit:infinitely many", "price_usd:one more costs, USD", "dollar:after one dollar more"),
        "gain:points per dollar",
    ),
}
_TIMES = (1.0, 2.0, 4.0, 8.0)
_MORE = {
    QUERY: "more queries",
    SIMULATOR: "more simulators",
    TRIAL: "more trials",
    JUDGE: "more judges",
    ROUND: "more rounds",
}


def share_rows(
    system: str,
    components: Components,
    counts: Counts,
    ends: Mapping[str, tuple[float, float]],
    left_out: int,
) -> list[ExperimentRow]:
    """The share of each source in the variance, in percent; ``left_out`` is the number of missing scores."""
    levels = {
        "query": counts.queries,
        "simulator": counts.simulators,
        "trial of the agent": counts.trials,
        "judge": counts.judges * counts.rounds,
    }
    return [
        {
            "table": SHARES,
            "system": system,
            "whose": whose,
            "share": 100 * share,
            "ci_low": 100 * min(ends[whose][0], share),
            "ci_high": 100 * max(ends[whose][1], share),
            "levels": levels[whose],
            "answers": counts.queries * counts.simulators * counts.trials,
            "left_out": left_out,
        }
        for whose, share in shares(components).items()
    ]


def offer_row(system: str, offer: Offer) -> ExperimentRow:
    """The standard error with more of one factor, in points, and its price in USD."""
    return {
        "table": OFFERS,
        "system": system,
        "factor": offer.factor,
        "count": offer.count,
        "now": 100 * offer.now,
        "one_more": 100 * offer.one_more,
        "double": 100 * offer.double,
        "limit": 100 * offer.limit,
        "price_usd": offer.price,
        "dollar": None if offer.dollar is None else 100 * offer.dollar,
        "gain": None if offer.dollar is None else 100 * (offer.now - offer.dollar),
    }


def describe_variance(
    system: str, components: Components, counts: Counts, bought: Sequence[Offer]
) -> tuple[str, ...]:
    """The result for one system, in sentences."""
    parts = ", ".join(f"{100 * share:.1f} % {whose}" for whose, share in shares(components).items())
    now = bought[0].now
    doubled = ", ".join(f"{_plural(offer)} {100 * offer.double:.2f}" for offer in bought)
    limits = ", ".join(f"{_plural(offer)} {100 * offer.limit:.2f}" for offer in bought if offer.limit)
    error = f"The standard error of a macro score over {counts.queries} queries is {100 * now:.2f} points"
    endless = f"; with infinitely many {limits}" if limits else ""
    lines = [
        f"Of the variance of a single verdict ({system}): {parts}.",
        f"{error}; with twice as many {doubled}{endless}.",
    ]
    priced = [offer for offer in bought if offer.dollar is not None]
    if priced:
        best = max(priced, key=lambda offer: offer.now - (offer.dollar or offer.now))
        gains = ", ".join(
            f"{_MORE[offer.factor]} {100 * (offer.now - (offer.dollar or offer.now)):.3f}" for offer in priced
        )
        lines.append(
            f"A dollar more lowers it by, in points: {gains}. It is best spent on {_MORE[best.factor]}."
        )
    return tuple(lines)


def _plural(offer: Offer) -> str:
    return _MORE[offer.factor].removeprefix("more ")


def error_chart(components: Components, counts: Counts) -> LineChart:
    """The standard error with more of each factor."""
    base = counts.by_factor()
    factors = [axis for axis in AXES if any(axis in source for source in components.variances)]
    lines = {
        _MORE[factor]: [
            (times, 100 * standard_error(components, {**base, factor: base[factor] * times}))
            for times in _TIMES
        ]
        for factor in factors
    }
    return LineChart("error", "What more of each buys", "times as many", "standard error, points", lines)
