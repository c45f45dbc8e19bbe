"""Where the variance of a score comes from, and what more would buy."""

from __future__ import annotations

import numpy as np
import pytest

from stb_evaluator.statistics.sampling import Codes
from stb_evaluator.statistics.spending import (
    AXES,
    Counts,
    Observations,
    Prices,
    counts_of,
    offers,
    share_ends,
    shares,
    sources_of,
    split,
)
from stb_evaluator.statistics.variance import Components

# Variances of the effects of query, simulator on a query, trial, judge on an answer, and round.
TRUTH = {"query": 0.09, "simulator": 0.02, "trial": 0.03, "judge": 0.01, "round": 0.015}


def observed(
    queries: int, *, simulators: int = 1, trials: int = 1, judges: int = 1, rounds: int = 1, seed: int = 0
) -> Observations:
    """Scores that are sums of random effects of known size."""
    rng = np.random.default_rng(seed)
    shape = (queries, simulators, trials, judges, rounds)
    parts = {"query": 1, "simulator": 2, "trial": 3, "judge": 4, "round": 5}
    scores = np.full(shape, 0.5)
    for name, depth in parts.items():
        drawn = rng.normal(0, TRUTH[name] ** 0.5, shape[:depth])
        scores = scores + drawn.reshape(*shape[:depth], *[1] * (5 - depth))
    places = np.indices(shape).reshape(5, -1)
    labels: dict[str, Codes] = dict(zip(AXES, places, strict=True))
    return Observations(scores.ravel(), labels, places[0] % 3)


def test_every_share_is_found_again() -> None:
    """Of 2,000 queries by 3 simulators, 3 trials, 2 judges and 2 rounds, to two points of a hundred."""
    seen = observed(2000, simulators=3, trials=3, judges=2, rounds=2)

    found = shares(split(seen, sources_of(seen)))

    total = sum(TRUTH.values())
    assert found["query"] == pytest.approx(TRUTH["query"] / total, abs=0.02)
    assert found["simulator"] == pytest.approx(TRUTH["simulator"] / total, abs=0.02)
    assert found["trial of the agent"] == pytest.approx(TRUTH["trial"] / total, abs=0.02)
    assert found["judge"] == pytest.approx((TRUTH["judge"] + TRUTH["round"]) / total, abs=0.02)
    assert sum(found.values()) == pytest.approx(1)


def test_what_was_done_once_is_no_source() -> None:
    """One trial, one simulator, one judge: its part is in that of what it was done to."""
    once = observed(50, rounds=2)
    all_there = observed(9, simulators=2, trials=2, judges=2, rounds=2)

    assert sources_of(once) == [("group",), ("query",), ("query", "round")]
    assert [source[-1] for source in sources_of(all_there)] == [
        *("group", "query", "simulator", "simulator", "trial", "judge", "judge", "round")
    ]
    assert ("query", "simulator", "trial", "judge", "round") in sources_of(all_there)


def test_trials_of_another_run_are_further_trials() -> None:
    """Labels of trials need not begin anew in each simulator."""
    seen = observed(100, simulators=2, trials=2)
    labels = dict(seen.labels)
    labels["trial"] = labels["trial"] + 2 * labels["simulator"]

    renamed = Observations(seen.scores, labels, seen.group)

    assert counts_of(renamed).trials == 2
    assert shares(split(renamed, sources_of(renamed))) == shares(split(seen, sources_of(seen)))


def test_intervals_of_shares_hold_them() -> None:
    """Around the estimate, the same for the same seed, narrower with more queries."""
    few, many = observed(60, rounds=3), observed(1000, rounds=3)

    ends = share_ends(few, sources_of(few), draws=50)
    wide, narrow = ends["judge"], share_ends(many, sources_of(many), draws=50)["judge"]

    assert wide[0] < shares(split(few, sources_of(few)))["judge"] < wide[1]
    assert narrow[1] - narrow[0] < wide[1] - wide[0]
    assert share_ends(few, sources_of(few), draws=50) == ends


COMPONENTS = {("query",): 0.16, ("query", "trial"): 0.04, ("query", "trial", "round"): 0.08}


def test_a_dollar_buys_what_it_pays_for() -> None:
    """100 queries of two trials and four rounds; a query costs 2 answers and 8 verdicts, and so on."""
    counts = Counts(queries=100, effective=100.0, simulators=1, trials=2, judges=1, rounds=4)
    components = Components(COMPONENTS, COMPONENTS, 800)

    query, trial, round_ = offers(components, counts, Prices(answer=0.1, verdict=0.01))

    assert (query.price, trial.price, round_.price) == pytest.approx((0.28, 14.0, 2.0))
    now = 0.16 / 100 + 0.04 / 200 + 0.08 / 800
    assert query.now == trial.now == round_.now == pytest.approx(now**0.5)
    assert query.dollar == pytest.approx((now * 100 / (100 + 1 / 0.28)) ** 0.5)
    assert round_.dollar == pytest.approx((0.16 / 100 + 0.04 / 200 + 0.08 / (200 * 4.5)) ** 0.5)
    assert trial.one_more == pytest.approx((0.16 / 100 + 0.04 / 300 + 0.08 / 1200) ** 0.5)


def test_without_prices_nothing_is_said_of_dollars() -> None:
    """One price alone does not do."""
    counts = Counts(queries=100, effective=100.0, simulators=1, trials=2, judges=1, rounds=4)
    components = Components(COMPONENTS, COMPONENTS, 800)

    assert {offer.dollar for offer in offers(components, counts, Prices(verdict=0.01))} == {None}
