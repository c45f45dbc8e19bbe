"""Probes of a judge of pairs: whether it prefers the answer that is shown first, or the longer one."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from stb_core.store import Run, Store
from stb_core.values import POINTS, SOWR, Judgement, Status, Trajectory, TrialPlace, Verdict
from stb_evaluator.judges import JudgingTally, Pair, PairJudge, judge_missing
from stb_evaluator.scores import preferences
from stb_evaluator.statistics import Interval, mean_interval, wilson_interval
from stb_experiments.judge_probes import pad
from stb_experiments.judge_probing import measure_row
from stb_experiments.output import ExperimentRow


@dataclass(frozen=True)
class Swaps:
    """Verdicts of a judge on pairs in both orders, without pairs that have an unreadable verdict.

    Attributes:
        swapped: pairs for which the better answer depended on the order.
        to_first: pairs of those in which the answer that was shown first won both times.
        to_second: pairs of those in which the answer that was shown second won both times.
        first: score per pair, in [0, 1], of the answer that is shown first.
        one: score per pair, in [0, 1], of the pair's own first answer.
    """

    swapped: int
    to_first: int
    to_second: int
    first: Sequence[float]
    one: Sequence[float]

    @property
    def n(self) -> int:
        """Pairs with both verdicts."""
        return len(self.one)

    @property
    def interval(self) -> Interval | None:
        """Wilson's interval of the share that was swapped."""
        return wilson_interval(self.swapped / self.n, self.n) if self.n else None


def count_swaps(verdicts: Sequence[tuple[Status | None, Status | None]]) -> Swaps:
    """Compare the verdict on each pair with that on the same pair in the other order.

    Solved means that the answer shown first is better, unsure that neither is; None is unreadable.
    """
    points = [
        (POINTS[one], POINTS[other])
        for one, other in verdicts
        if one not in {None, Status.ERROR} and other not in {None, Status.ERROR}
    ]
    return Swaps(
        swapped=sum(a + b != 1 for a, b in points),
        to_first=sum(a == b == 1 for a, b in points),
        to_second=sum(a == b == 0 for a, b in points),
        first=[(a + b) / 2 for a, b in points],
        one=[(a + 1 - b) / 2 for a, b in points],
    )


def padded_pairs(trajectories: Sequence[Trajectory]) -> dict[TrialPlace, Pair]:
    """Pairs of a padded answer and the answer itself: the first is longer and says no more."""
    return {(t.group, t.query_id, t.trial): Pair(pad(t), t, t.query) for t in trajectories}


def rival_pairs(pairs: Mapping[TrialPlace, Pair], sample: int, seed: int) -> dict[TrialPlace, Pair]:
    """Up to ``sample`` pairs of two different answers, drawn by ``seed``."""
    open_ones = [
        place
        for place, pair in pairs.items()
        if pair.first and pair.second and pair.first.answer_hash and pair.second.answer_hash
        if not pair.identical
    ]
    chosen = random.Random(seed).sample(open_ones, min(sample, len(open_ones)))
    return {place: pairs[place] for place in chosen}


async def ask_both_ways(
    store: Store,
    run: Run,
    judge: PairJudge,
    pairs: Mapping[TrialPlace, Pair],
    *,
    connections: int,
    tally: JudgingTally,
    against: Sequence[str] = (),
    advance: Callable[[int, int], None] = lambda _done, _all: None,
) -> Swaps:
    """Ask about each pair in both orders. Verdicts are stored with those of comparisons, and asked for once.

    ``against`` names the other run that answers are from, if there is one.
    """
    shown = [(place, one) for place, pair in pairs.items() for one in (pair, pair.swapped)]

    async def missing() -> list[tuple[TrialPlace, Pair]]:
        known = await preferences(store, [pair for _, pair in shown], judge.name, judge.rubric, [run.run])
        return [(place, pair) for place, pair in shown if (pair.hash, 0) not in known]

    def verdict(job: tuple[TrialPlace, Pair], judgement: Judgement) -> Verdict:
        return _verdict(run, judge, *job, judgement)

    await judge_missing(
        store,
        min([run.run, *against]),
        missing,
        lambda job: judge.prefer(job[1], 0),
        verdict,
        connections=connections,
        tally=tally,
        advance=advance,
    )
    known = await preferences(store, [pair for _, pair in shown], judge.name, judge.rubric, [run.run])
    return count_swaps(
        [(known.get((pair.hash, 0)), known.get((pair.swapped.hash, 0))) for pair in pairs.values()]
    )


def order_rows(swaps: Swaps, suffix: str = "", note: str = "") -> list[ExperimentRow]:
    """How often the order decides which answer is better, and the score of the first shown; 50 is fair. In percent."""
    interval = swaps.interval
    ends = None if interval is None else (interval.low * 100, interval.high * 100)
    rate = None if interval is None else 100 * swaps.swapped / swaps.n
    counts = f"{swaps.to_first} always for the first shown, {swaps.to_second} for the second"
    counts += f"; {note}" if note else ""
    return [
        measure_row(f"order_swapped{suffix}", rate, swaps.n, ends=ends, note=counts),
        score_row(f"first_preferred{suffix}", swaps.first),
    ]


def score_row(measure: str, scores: Sequence[float]) -> ExperimentRow:
    """A mean of scores per pair, in percent."""
    if not scores:
        return measure_row(measure, None, 0, note="50 is fair")
    interval = mean_interval(list(scores))
    ends = interval.low * 100, interval.high * 100
    return measure_row(measure, 100 * sum(scores) / len(scores), len(scores), ends=ends, note="50 is fair")


def _verdict(run: Run, judge: PairJudge, place: TrialPlace, pair: Pair, judgement: Judgement) -> Verdict:
    return Verdict.of(
        judgement,
        place,
        run=run.run,
        metric=SOWR,
        judge=judge.name,
        rubric=judge.rubric,
        number=0,
        answer_hash=pair.hash,
    )
