"""The verdicts on the trials of a run, as one word per trial for tables and filters."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from stb_core.store import Mark, Store, StoredTrial, schema
from stb_core.values import SOPR, Status

MISSING = "missing"
"""The trial has no trajectory."""
UNJUDGED = "unjudged"
"""This judge has no verdict on the answer that counts."""
SPLIT = "split"
"""No verdict is more frequent than all others."""
OUTCOMES = (*(status.value for status in Status), SPLIT, UNJUDGED, MISSING)

SIGNS = {
    Status.SOLVED.value: "✓",
    Status.UNSURE.value: "?",
    Status.UNSOLVED.value: "✗",
    Status.ERROR.value: "!",
    SPLIT: "≠",
    UNJUDGED: "·",
    MISSING: "-",
}


@dataclass(frozen=True, slots=True)
class JudgeName:
    """A judge with its rubric, as an address names it."""

    judge: str
    rubric: str

    @property
    def name(self) -> str:
        """Judge and rubric in one name; only the judge if the rubric adds nothing."""
        if self == NOBODY:
            return "no answer to judge"
        return self.judge if self.rubric in {"", self.judge} else f"{self.judge} · {self.rubric}"

    @property
    def address(self) -> str:
        """Judge and rubric, as in an address."""
        return f"{self.judge}|{self.rubric}"


NOBODY = JudgeName("", "")
"""Stands for the judge of a run in which no answer needs one: all are unsolved."""


def decide_outcome(statuses: Sequence[Status]) -> str:
    """The most frequent verdict; failures of the judge count only if there is nothing else."""
    counts = Counter(status for status in statuses if status is not Status.ERROR)
    if not counts:
        return Status.ERROR.value if statuses else UNJUDGED
    (first, most), *others = counts.most_common()
    return SPLIT if others and others[0][1] == most else first.value


def group_statuses(
    marks: Sequence[Mark], done: Sequence[StoredTrial]
) -> dict[tuple[str, str, int], list[Status]]:
    """The verdicts by round on the answers that count; verdicts on earlier attempts are left out."""
    answers = {(one.group, one.query_id, one.trial): one.answer_hash for one in done}
    rounds_by_trial: dict[tuple[str, str, int], dict[int, Status]] = defaultdict(dict)
    for mark in marks:
        place = mark.group, mark.query_id, mark.trial
        if answers.get(place) == mark.answer_hash:
            # A round in which the judge failed may have been repeated; the last verdict counts.
            rounds_by_trial[place][mark.round] = mark.status
    return {place: [rounds[number] for number in sorted(rounds)] for place, rounds in rounds_by_trial.items()}


async def count_verdicts(store: Store, runs: Sequence[str]) -> dict[str, dict[JudgeName, Counter[str]]]:
    """The number of verdicts of each kind, by run and judge; ``NOBODY`` where no answer needs a judge."""
    v = schema.verdicts.c
    statement = (
        sa.select(v.run, v.judge, v.rubric, v.status, sa.func.count())
        .where(v.run.in_(runs), v.metric == SOPR, v.is_foreign == 0)
        .group_by(v.run, v.judge, v.rubric, v.status)
        .order_by(v.run, v.judge, v.rubric)
    )
    counts: dict[str, dict[JudgeName, Counter[str]]] = {run: {} for run in runs}
    async with store.reading() as connection:
        for run, judge, rubric, status, count in await connection.execute(statement):
            counts[run].setdefault(JudgeName(judge, rubric), Counter())[status] = count
    for run, by_judge in counts.items():
        if not by_judge and not await store.runs.needs_judge(run):
            by_judge[NOBODY] = Counter()
    return counts


def goes_with(judges_of_run: Collection[JudgeName], judge: JudgeName | None) -> bool:
    """Whether a run has a score by this judge."""
    return judge in judges_of_run or NOBODY in judges_of_run


def list_judges(judges_by_run: Mapping[str, Iterable[JudgeName]]) -> list[JudgeName]:
    """All judges of some runs; the last one has judged most of them."""
    busiest = Counter(judge for judges in judges_by_run.values() for judge in judges if judge != NOBODY)
    judged = [judge for judge, _ in reversed(busiest.most_common())]
    return judged or ([NOBODY] if any(NOBODY in judges for judges in judges_by_run.values()) else [])


def common_judges(judges_by_run: Mapping[str, Collection[JudgeName]]) -> list[JudgeName]:
    """The judges by which all of some runs have a score."""
    judged = [judges for judges in judges_by_run.values() if NOBODY not in judges]
    if not judged:
        return [NOBODY] if judges_by_run else []
    return [judge for judge in judged[0] if all(judge in judges for judges in judged)]
