"""One judge, or a panel of judges whose majority decides each round."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stb_core.store import Mark
from stb_core.values import Status


@dataclass(frozen=True)
class PanelMember:
    """One judge with one rubric, as the verdict log names them."""

    judge: str
    rubric: str


@dataclass(frozen=True)
class Panel:
    """One member, or several that vote."""

    members: tuple[PanelMember, ...]

    @property
    def name(self) -> str:
        """The judge's name, or those of a panel."""
        names = [member.judge for member in self.members]
        return names[0] if len(names) == 1 else f"panel({', '.join(names)})"

    @property
    def rubric(self) -> str:
        """The rubric, or a hash of all where they differ."""
        rubrics = {member.rubric for member in self.members}
        if len(rubrics) == 1:
            return rubrics.pop()
        return hashlib.sha256("\n".join(member.rubric for member in self.members).encode()).hexdigest()


def panel_of_one(judge: str, rubric: str) -> Panel:
    """A panel with a single member."""
    return Panel((PanelMember(judge, rubric),))


def majority_marks(logs: Sequence[Sequence[Mark]]) -> list[Mark]:
    """One mark per round from the logs of a panel's members.

    A round gets the status that more than half of the members give, or else *unsure*. If a member's verdict
    is missing, the round has no mark; if one failed, the mark is an error. So the panel is the same on
    every query.
    """
    if len(logs) == 1:
        return list(logs[0])
    votes: dict[tuple[str, str, int, int, str], dict[int, Mark]] = defaultdict(dict)
    for member, log in enumerate(logs):
        for mark in log:
            place = (mark.group, mark.query_id, mark.trial, mark.round, mark.answer_hash)
            held = votes[place].get(member)
            if held is None or held.status is Status.ERROR:
                votes[place][member] = mark
    return [
        replace(
            next(iter(cast.values())),
            status=_majority([mark.status for mark in cast.values()]),
            is_copy=all(mark.is_copy for mark in cast.values()),
        )
        for cast in votes.values()
        if len(cast) == len(logs)
    ]


def _majority(statuses: Sequence[Status]) -> Status:
    if Status.ERROR in statuses:
        return Status.ERROR
    status, count = Counter(statuses).most_common(1)[0]
    return status if 2 * count > len(statuses) else Status.UNSURE
