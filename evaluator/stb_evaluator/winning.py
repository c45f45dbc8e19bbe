"""The solvable win rate: of a candidate run and a reference run, who did better on each query.

Pass verdicts come first: where a majority finds one answer solved and not the other, that one wins,
decided once. Otherwise a judge compares the two in both orders; a split is a tie, and a tie is half a
win. Identical answers are a tie without a call (arXiv:2403.07714, section 3.2, without the faults of
its code, which ``switches`` bring back one by one).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from stb_core.trajectories import StopReason
from stb_core.verdicts import Status
from stb_evaluator.preference import Pair
from stb_evaluator.sheets import Place, Sheet
from stb_evaluator.switches import OURS

Outcome = float | None
"""1 for a win of the candidate, 0.5 for a tie, 0 for a loss, None when it cannot be told."""

Question = tuple[Pair, int]
"""A pair in the order in which it is shown, and the round."""

Preferences = Mapping[tuple[str, int], Status]
"""Readable verdicts by (hash of the pair as shown, round); solved when the first is better."""

_SIGNS = {Status.SOLVED: 1, Status.UNSURE: 0, Status.UNSOLVED: -1}


def majority(sheet: Sheet, place: Place) -> bool | None:
    """Whether more than half of the readable verdicts find an answer solved; None without any.

    An answer that is missing, unfinished or blank is not solved; of a trial that infrastructure spoiled
    nothing is known.
    """
    answer = sheet.answers.get(place)
    if answer is not None and answer.stop is StopReason.INFRASTRUCTURE:
        return None
    if answer is None or not answer.answer_hash:
        return False
    marks = [sheet.marks.get((*place, number)) for number in range(sheet.n_rounds)]
    statuses = [mark.status for mark in marks if mark and mark.status is not Status.ERROR]
    return 2 * statuses.count(Status.SOLVED) > len(statuses) if statuses else None


def questions(
    pair: Pair,
    solved: tuple[bool | None, bool | None],
    rounds: int,
    switches: Mapping[str, str] = OURS,
) -> list[Question]:
    """What a judge is to be asked, so that the outcome can be told; nothing where it is known already."""
    if _known(pair, solved, switches) is not None or _is_untold(solved, switches):
        return []
    asked: list[Question] = []
    for number in range(rounds):
        orders: Sequence[Pair] = [pair, pair.swapped]
        if switches["sowr.order"] == "one":
            orders = [orders[coin(pair, number, "order")]]
        asked += [(one, number) for one in orders]
    return asked


def outcome(
    pair: Pair,
    solved: tuple[bool | None, bool | None],
    rounds: int,
    preferences: Preferences,
    switches: Mapping[str, str] = OURS,
) -> Outcome:
    """How the candidate, who is first in ``pair``, did: over the rounds, or by what is known already.

    In the published way a query goes to whoever wins more rounds; by our rules it is the mean.
    """
    known = _known(pair, solved, switches)
    if known is not None:
        return known
    if _is_untold(solved, switches):
        return None
    found: list[float] = []
    for number in range(rounds):
        one = outcome_of_round(pair, number, preferences, switches)
        if one is None:
            return None
        found.append(one)
    mean = sum(found) / len(found)
    if switches["sowr.order"] == "both":
        return mean
    return 1.0 if mean > 0.5 else 0.0 if mean < 0.5 else 0.5


def outcome_of_round(
    pair: Pair, number: int, preferences: Preferences, switches: Mapping[str, str] = OURS
) -> Outcome:
    """What the verdicts of one round say; None unless all that are needed are there.

    Votes on record were cast in one order only, and count as they are.
    """
    seen: list[int] = []
    for one, sign in ((pair, 1), (pair.swapped, -1)):
        status = preferences.get((one.hash, number))
        if status in _SIGNS:
            seen.append(sign * _SIGNS[status])
    needed = 2 if switches["sowr.order"] == "both" else 1
    if len(seen) < needed:
        return None
    return (seen[0] + 1) / 2 if len(set(seen)) == 1 else 0.5


def coin(pair: Pair, number: int, purpose: str) -> int:
    """0 or 1: chance, but always the same for the same pair in the same order, round and purpose."""
    return hashlib.sha256(f"{purpose}:{number}:{pair.hash}".encode()).digest()[0] & 1


def _known(pair: Pair, solved: tuple[bool | None, bool | None], switches: Mapping[str, str]) -> Outcome:
    """The outcome without a judge of pairs; None when one is needed."""
    first, second = solved
    if switches["sowr.verdicts"] == "used" and None not in solved and first != second:
        return 1.0 if first else 0.0
    if pair.identical:
        return float(coin(pair, 0, "identical")) if switches["sowr.identical"] == "coin" else 0.5
    return None


def _is_untold(solved: tuple[bool | None, bool | None], switches: Mapping[str, str]) -> bool:
    """Whether pass verdicts are lacking that decide whether a judge of pairs is needed."""
    return switches["sowr.verdicts"] == "used" and None in solved
