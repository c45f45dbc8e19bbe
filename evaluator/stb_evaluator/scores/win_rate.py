"""The solvable win rate: whether a candidate run or a reference run did better on each query.

Pass verdicts come first: where a majority finds one answer solved and not the other, that one wins,
decided once. Otherwise a judge compares the two in both orders; a split is a tie, and a tie is half a
win. Identical answers are a tie without a call (arXiv:2403.07714, section 3.2, without the faults of
its code, which ``switches`` bring back one by one).

In the published way (``sowr.verdicts=rejudged``) a judge first judges both answers again, for every pair as
shown and every round: the better status wins, and only of two that are alike the better is asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType

from stb_core.values import POINTS, Status, StopReason, Trajectory, TrialPlace
from stb_evaluator.judges import CUT, Pair
from stb_evaluator.scores.reference_rules import OURS
from stb_evaluator.scores.verdict_table import VerdictTable

WinOutcome = float | None
"""1 for a win of the candidate, 0.5 for a tie, 0 for a loss, None if it is undecided."""

PairQuestion = tuple[Pair, int]
"""A pair in the order in which it is shown, and the round."""

Preferences = Mapping[tuple[str, int], Status]
"""Readable verdicts by (hash of the pair as shown, round); solved when the first is better."""

Check = tuple[Pair, Trajectory, int]
"""A pair in the order in which it is shown, the answer of it to judge, and the round."""

Checks = Mapping[tuple[str, int], Status]
"""Readable verdicts on answers of pairs by (``Pair.hash_of`` the answer, round)."""

_NO_CHECKS: Checks = MappingProxyType({})
_GIVES_UP = "give_up_and_restart"
_SIGNS = {Status.SOLVED: 1, Status.UNSURE: 0, Status.UNSOLVED: -1}


def solved_by_majority(table: VerdictTable, place: TrialPlace) -> bool | None:
    """Whether more than half of the readable verdicts find an answer solved; None without any.

    An answer that is missing, unfinished or blank is not solved; a trial lost to an
    infrastructure failure is undecided.
    """
    answer = table.answers.get(place)
    if answer is not None and answer.stop is StopReason.INFRASTRUCTURE:
        return None
    if answer is None or not answer.answer_hash:
        return False
    marks = [table.marks.get((*place, number)) for number in range(table.n_rounds)]
    statuses = [mark.status for mark in marks if mark and mark.status is not Status.ERROR]
    return 2 * statuses.count(Status.SOLVED) > len(statuses) if statuses else None


def pair_questions(
    pair: Pair,
    solved: tuple[bool | None, bool | None],
    rounds: int,
    switches: Mapping[str, str] = OURS,
    checks: Checks = _NO_CHECKS,
) -> list[PairQuestion]:
    """The questions that decide an outcome; empty if it is already known."""
    if _known(pair, solved, switches) is not None or _is_undecidable(pair, solved, switches):
        return []
    asked = [(one, number) for number in range(rounds) for one in _shown(pair, number, switches)]
    if switches["sowr.verdicts"] == "rejudged":
        return [(one, number) for one, number in asked if _sign_of_statuses(one, number, checks) == 0]
    return asked


def answers_to_check(pair: Pair, rounds: int, switches: Mapping[str, str]) -> list[Check]:
    """The answers of a pair that are judged again before the judge says which one is better."""
    if switches["sowr.verdicts"] != "rejudged":
        return []
    if _known(pair, (None, None), switches) is not None or _is_undecidable(pair, (None, None), switches):
        return []
    return [
        (shown, answer, number)
        for number in range(rounds)
        for shown in _shown(pair, number, switches)
        for answer in (shown.first, shown.second)
        if answer is not None and _is_checked(answer)
    ]


def decide_outcome(
    pair: Pair,
    solved: tuple[bool | None, bool | None],
    rounds: int,
    preferences: Preferences,
    switches: Mapping[str, str] = OURS,
    checks: Checks = _NO_CHECKS,
) -> WinOutcome:
    """How the candidate, who is first in ``pair``, did: over the rounds, or by what is known already.

    In the published way the run that wins more rounds wins the query; by our rules it is the mean.
    """
    known = _known(pair, solved, switches)
    if known is not None:
        return known
    if _is_undecidable(pair, solved, switches):
        return None
    found: list[float] = []
    for number in range(rounds):
        one = decide_round(pair, number, preferences, switches, checks)
        if one is None:
            return None
        found.append(one)
    mean = sum(found) / len(found)
    if switches["sowr.order"] == "both":
        return mean
    return 1.0 if mean > 0.5 else 0.0 if mean < 0.5 else 0.5


def decide_round(
    pair: Pair,
    number: int,
    preferences: Preferences,
    switches: Mapping[str, str] = OURS,
    checks: Checks = _NO_CHECKS,
) -> WinOutcome:
    """What the verdicts of one round say; None unless all that are needed are there.

    Votes on record were cast in one order only, and count as they are.
    """
    if switches["sowr.verdicts"] == "rejudged":
        return _rejudged(pair, number, preferences, switches, checks)
    seen: list[int] = []
    for one, sign in ((pair, 1), (pair.swapped, -1)):
        status = preferences.get((one.hash, number))
        if status in _SIGNS:
            seen.append(sign * _SIGNS[status])
    needed = 2 if switches["sowr.order"] == "both" else 1
    if len(seen) < needed:
        return None
    return (seen[0] + 1) / 2 if len(set(seen)) == 1 else 0.5


def _rejudged(
    pair: Pair, number: int, preferences: Preferences, switches: Mapping[str, str], checks: Checks
) -> WinOutcome:
    """Who wins a round by the better status, and where both have the same by the judge of pairs."""
    signs: set[int] = set()
    for shown in _shown(pair, number, switches):
        sign = _sign_of_statuses(shown, number, checks)
        if sign == 0:
            sign = _SIGNS.get(preferences.get((shown.hash, number), Status.ERROR))
        if sign is None:
            return None
        signs.add(sign if shown is pair else -sign)
    return (signs.pop() + 1) / 2 if len(signs) == 1 else 0.5


def _shown(pair: Pair, number: int, switches: Mapping[str, str]) -> list[Pair]:
    """The orders in which a pair is shown in a round."""
    orders = [pair, pair.swapped]
    return [orders[toss_coin(pair, number, "order")]] if switches["sowr.order"] == "one" else orders


def _sign_of_statuses(shown: Pair, number: int, checks: Checks) -> int | None:
    """1 where the first answer has the better status, -1 where the second has; None where one lacks."""
    points: list[float] = []
    for answer in (shown.first, shown.second):
        status: Status | None = Status.UNSOLVED
        if answer is not None and _is_checked(answer):
            status = checks.get((shown.hash_of(answer), number))
        if status not in POINTS:
            return None
        points.append(POINTS[status])
    return (points[0] > points[1]) - (points[0] < points[1])


def _is_checked(answer: Trajectory) -> bool:
    """Whether the published code has an answer of a pair judged: anything but none, or words of giving up."""
    return answer.finished and _GIVES_UP not in answer.final_answer[:CUT]


def toss_coin(pair: Pair, number: int, purpose: str) -> int:
    """0 or 1: chance, but always the same for the same pair in the same order, round and purpose."""
    return hashlib.sha256(f"{purpose}:{number}:{pair.hash}".encode()).digest()[0] & 1


def _known(pair: Pair, solved: tuple[bool | None, bool | None], switches: Mapping[str, str]) -> WinOutcome:
    """The outcome without a judge of pairs; None when one is needed."""
    first, second = solved
    if switches["sowr.verdicts"] == "used" and None not in solved and first != second:
        return 1.0 if first else 0.0
    if switches["sowr.verdicts"] == "rejudged":
        return _known_unchecked(pair, switches)
    if pair.identical:
        return float(toss_coin(pair, 0, "identical")) if switches["sowr.identical"] == "coin" else 0.5
    return None


def _known_unchecked(pair: Pair, switches: Mapping[str, str]) -> WinOutcome:
    """The outcome without judging the answers again; None if that is needed, or a trial was lost."""
    if is_lost(pair):
        return None
    is_coin = switches["sowr.identical"] == "coin"
    if pair.identical and not is_coin:
        return 0.5
    if pair.first is None or pair.second is None:  # the candidate also wins what neither run answered
        return 1.0 if pair.second is None else 0.0
    # The published code tosses its coin only where the calls are the same, too.
    return float(toss_coin(pair, 0, "identical")) if pair.identical_throughout else None


def _is_undecidable(pair: Pair, solved: tuple[bool | None, bool | None], switches: Mapping[str, str]) -> bool:
    """Whether what decides before a judge of pairs is asked is not known."""
    if switches["sowr.verdicts"] == "rejudged":
        return is_lost(pair)
    return switches["sowr.verdicts"] == "used" and None in solved


def is_lost(pair: Pair) -> bool:
    """Whether an answer of the pair was lost to an infrastructure failure."""
    answers = [answer for answer in (pair.first, pair.second) if answer is not None]
    return any(answer.stop is StopReason.INFRASTRUCTURE for answer in answers)
