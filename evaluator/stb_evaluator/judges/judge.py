"""Judges: from one answer to one verdict. A judge that fails says so; it never says unsolved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from stb_core.llm.protocol import Model
from stb_core.usage import Usage
from stb_core.values.queries import Query
from stb_core.values.trajectories import Trajectory
from stb_core.values.verdicts import Status
from stb_evaluator.judges.ask import Asked, Form, ask, describe_calls
from stb_evaluator.judges.quoting import shorten
from stb_evaluator.judges.replies import VERDICT_SCHEMA, ReadVerdict, read_verdict
from stb_evaluator.judges.rubrics import Rubric

VERDICT = Form("verdict", VERDICT_SCHEMA, read_verdict)


@dataclass(frozen=True)
class Case:
    """What is to be judged: a trajectory that ended with an answer, and its query where it is known."""

    trajectory: Trajectory
    query: Query | None = None


@dataclass(frozen=True)
class Judgement:
    """What a judge decided, why, and what it really said, call by call."""

    status: Status
    reason: str = ""
    raw: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    details: dict[str, Any] | None = None


class Judge(Protocol):
    """Decides whether an answer solves its query.

    ``name`` and ``rubric`` (a hash, or the name of a fixed rule) identify it in the verdict log.
    ``reusable`` says whether its verdict on the same answer holds in every run.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - see the class

    @property
    def rubric(self) -> str: ...  # noqa: D102 - see the class

    @property
    def reusable(self) -> bool: ...  # noqa: D102 - see the class

    async def judge(self, case: Case, number: int) -> Judgement:
        """The verdict of one round, counted from 0.

        Raises:
            ModelUnavailableError: the judge could not be asked; the round is still to be judged.
        """
        ...


class ModelJudge:
    """A language model with a rubric of two stages: the answer alone, and when unsure the trajectory."""

    reusable = True

    def __init__(self, model: Model, rubric: Rubric) -> None:
        self._model = model
        self._rubric = rubric

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    @property
    def rubric(self) -> str:
        """SHA-256 of the rubric's file."""
        return self._rubric.hash

    async def judge(self, case: Case, number: int) -> Judgement:
        """Ask the first stage, and the second when the first is unsure."""
        trajectory, rubric = case.trajectory, self._rubric
        pieces = {
            "request": trajectory.query,
            "final answer": shorten(trajectory.final_answer, rubric.answer_limit),
        }
        asked = await ask(self._model, rubric, "answer", pieces, VERDICT, number=number)
        found = _judgement(asked, "answer")
        if found.status is not Status.UNSURE:
            return found
        pieces["calls"] = describe_calls(trajectory, rubric)
        again = await ask(self._model, rubric, "trajectory", pieces, VERDICT, number=number)
        return _judgement(again, "trajectory", before=found)


def _judgement(asked: Asked, stage: str, *, before: Judgement | None = None) -> Judgement:
    raw, usage = (before.raw, before.usage) if before else ((), Usage())
    verdict = asked.verdict or ReadVerdict(Status.ERROR, asked.problem)
    return Judgement(
        verdict.status, verdict.reason, raw + asked.raw, usage + asked.usage, {"decided_by": stage}
    )
