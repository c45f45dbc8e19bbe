"""Judges of single answers. A judge that fails gives an error, never *unsolved*."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from typing import Protocol, Self

from stb_core.errors import ModelError
from stb_core.llm import Model
from stb_core.usage import Usage
from stb_core.values import Judgement, Query, Status, Trajectory
from stb_evaluator.judges.ask import REFUSED, ReplyForm, ask, describe_calls
from stb_evaluator.judges.quoting import shorten
from stb_evaluator.judges.replies import VERDICT_SCHEMA, ReadVerdict, read_verdict
from stb_evaluator.judges.rubrics import Rubric

VERDICT = ReplyForm("verdict", VERDICT_SCHEMA, read_verdict)


@dataclass(frozen=True)
class Case:
    """The answer to judge: a trajectory that ended with an answer, and its query if it is known."""

    trajectory: Trajectory
    query: Query | None = None


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
            ModelUnavailableError: the judge could not be reached; the round stays unjudged.
        """
        ...


class AskingJudge:
    """A judge that asks a language model."""

    reusable = True

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def temperature(self) -> float | None:
        """At which its model is asked; None for the endpoint's own."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    @property
    def rubric(self) -> str:
        """What the judge is asked, as the verdict log names it."""
        raise NotImplementedError

    def with_model(self, model: Model) -> Self:
        """A judge that asks another model the same."""
        other = copy(self)
        other._model = model  # noqa: SLF001 - of the same class
        return other


class RubricJudge(AskingJudge):
    """A language model with a rubric. A judge of some kind of thing adds the one method that asks about it."""

    def __init__(self, model: Model, rubric: Rubric) -> None:
        super().__init__(model)
        self._rubric = rubric

    @property
    def rubric(self) -> str:
        """SHA-256 of the rubric's file, and of limits that differ from it."""
        return self._rubric.hash

    @property
    def temperature(self) -> float | None:
        """That of the rubric."""
        return self._rubric.temperature

    async def _ask(self, stage: str, pieces: Mapping[str, str], form: ReplyForm, number: int) -> Judgement:
        """Ask one stage of the rubric in round ``number``; a reply that cannot be read is an error."""
        asked = await ask(self._model, self._rubric, stage, pieces, form, number=number)
        verdict = asked.verdict or ReadVerdict(Status.ERROR, asked.problem)
        details = {REFUSED: asked.refusal} if asked.refusal else None
        return Judgement(verdict.status, verdict.reason, asked.raw, asked.usage, details)

    def _answer_pieces(self, case: Case) -> dict[str, str]:
        """The query and the final answer, within the rubric's limit."""
        return {
            "request": case.trajectory.query,
            "final answer": shorten(case.trajectory.final_answer, self._rubric.answer_limit),
        }


@contextmanager
def paid_before(usage: Usage) -> Generator[None]:
    """Count what an earlier stage cost if the model fails within the block."""
    try:
        yield
    except ModelError as error:
        error.add_usage(usage)
        raise


class ModelJudge(RubricJudge):
    """Judges in two stages: by the answer alone, and when that is unsure by the trajectory."""

    async def judge(self, case: Case, number: int) -> Judgement:
        """Ask the first stage, and the second when the first is unsure."""
        pieces = self._answer_pieces(case)
        first = await self._ask("answer", pieces, VERDICT, number)
        if first.status is not Status.UNSURE:
            return replace(first, details={**(first.details or {}), "decided_by": "answer"})
        pieces["calls"] = describe_calls(case.trajectory, self._rubric)
        with paid_before(first.usage):
            second = await self._ask("trajectory", pieces, VERDICT, number)
        return replace(
            second,
            raw=first.raw + second.raw,
            usage=first.usage + second.usage,
            details={**(second.details or {}), "decided_by": "trajectory"},
        )
