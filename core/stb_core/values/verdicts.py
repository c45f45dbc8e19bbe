"""Verdicts: one judgement of one answer. A judge that failed is an ``error``, never ``unsolved``."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from stb_core.usage import Usage

SOPR = "sopr"
"""Solvable pass rate: is the answer right?"""
SOWR = "sowr"
"""Solvable win rate: which of two answers is better?"""
FAC = "fac"
"""Final-answer correctness."""
SOLVABLE = "solvable"
"""Votes on whether a query can be solved at all."""


def unfinished(metric: str) -> str:
    """The name under which the log keeps what was paid for verdicts that never came; no score counts it."""
    return f"{metric}-unfinished"


COPY_OF_ROUND = "copy_of_round"
"""The member of a verdict's details that says which round it repeats: nobody was asked for it."""


class Status(StrEnum):
    """What a judge decided."""

    SOLVED = "solved"
    UNSURE = "unsure"
    UNSOLVED = "unsolved"
    ERROR = "error"
    """The judge failed: counted and shown, never scored."""


# Points of a verdict in the solvable pass rate (arXiv:2403.07714, section 3.2).
POINTS = {Status.SOLVED: 1.0, Status.UNSURE: 0.5, Status.UNSOLVED: 0.0}


@dataclass(frozen=True)
class Judgement:
    """What a judge decided, why, and what it really said, call by call."""

    status: Status
    reason: str = ""
    raw: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    details: dict[str, Any] | None = None


class Verdict(BaseModel):
    """One judgement: round ``round`` of ``judge`` with ``rubric`` on one trial of one query.

    ``answer_hash`` identifies what was judged, so that the same question is never paid for twice.
    ``raw`` is what the judge really said, call by call. ``source`` names what brought the verdict; "" if it was
    asked for in this store. A foreign one does not belong to its run, and counts only where it is asked for.
    """

    model_config = ConfigDict(frozen=True)

    run: str
    group: str
    query_id: str
    trial: int = Field(default=0, ge=0)
    metric: str = "sopr"
    judge: str
    rubric: str
    round: int = Field(ge=0)
    status: Status
    reason: str = ""
    answer_hash: str = ""
    raw: tuple[str, ...] = ()
    usage: Usage = Usage()
    details: dict[str, Any] | None = None
    # Younger than the format: left out where they say nothing, so that older bundles stay the same bytes.
    source: str = Field(default="", exclude_if=lambda source: not source)
    is_foreign: bool = Field(default=False, exclude_if=lambda is_foreign: not is_foreign)

    @property
    def is_copy(self) -> bool:
        """Whether it repeats the verdict of another round without asking the judge."""
        return COPY_OF_ROUND in (self.details or {})

    @classmethod
    def of(
        cls,
        judgement: Judgement,
        place: tuple[str, str, int],
        *,
        run: str,
        metric: str,
        judge: str,
        rubric: str,
        number: int,
        answer_hash: str,
        details: dict[str, Any] | None = None,
    ) -> Verdict:
        """A judgement as the log keeps it.

        Args:
            judgement: the decision, and all that led to it.
            place: group, query id and trial.
            run: the run with which the verdict is kept.
            metric: the name under which it is kept.
            judge: name of the judge.
            rubric: hash of the judge's rubric, or the name of fixed rules.
            number: the round, counted from 0.
            answer_hash: what was judged.
            details: what else to keep; the judgement's own are kept only if they are given here.
        """
        group, query_id, trial = place
        return cls(
            run=run,
            group=group,
            query_id=query_id,
            trial=trial,
            metric=metric,
            judge=judge,
            rubric=rubric,
            round=number,
            status=judgement.status,
            reason=judgement.reason,
            answer_hash=answer_hash,
            raw=judgement.raw,
            usage=judgement.usage,
            details=details,
        )
