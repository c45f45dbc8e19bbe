"""Judges of pairs: which of two answers to one query is better, in the order shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from stb_core.values import POINTS, Judgement, Query, Status, Trajectory, content_hash
from stb_evaluator.formats import published_answer
from stb_evaluator.judges.ask import ReplyForm, describe_calls
from stb_evaluator.judges.judge import Case, RubricJudge
from stb_evaluator.judges.quoting import shorten
from stb_evaluator.judges.replies import PREFERENCE_SCHEMA, read_preference
from stb_evaluator.judges.rules import judge_by_rules

PREFERENCE = ReplyForm("preference", PREFERENCE_SCHEMA, read_preference)

_NO_ANSWER = "(The assistant gave no answer.)"


@dataclass(frozen=True)
class Pair:
    """Two answers to one query, in the order in which a judge sees them; None for a missing answer."""

    first: Trajectory | None
    second: Trajectory | None
    text: str
    query: Query | None = None

    @property
    def hash(self) -> str:
        """SHA-256 of all that a judge may see, order included."""
        return content_hash([self.text, _content(self.first), _content(self.second)])

    @property
    def swapped(self) -> Pair:
        """The pair in the other order."""
        return Pair(self.second, self.first, self.text, self.query)

    @property
    def identical(self) -> bool:
        """Whether both answers are the same text, or both are empty."""
        return final_text(self.first) == final_text(self.second)

    @property
    def identical_throughout(self) -> bool:
        """Whether answers, calls and what was said between them are the same."""
        is_same = _content(self.first) == _content(self.second)
        return is_same and _details(self.first) == _details(self.second)

    def hash_of(self, trajectory: Trajectory) -> str:
        """SHA-256 of one of the two as judged within this pair, order included."""
        return content_hash([self.hash, _content(trajectory)])


def final_text(trajectory: Trajectory | None) -> str:
    """The text of the final answer; empty if there is none."""
    return trajectory.final_answer.strip() if trajectory is not None and trajectory.finished else ""


def _content(trajectory: Trajectory | None) -> list[object]:
    if trajectory is None:
        return []
    steps = [[step.function, step.arguments, step.observation] for step in trajectory.steps]
    return [final_text(trajectory), steps]


def _details(trajectory: Trajectory | None) -> Any:
    return None if trajectory is None else published_answer(trajectory)["answer_details"]


class PairJudge(Protocol):
    """Prefers one of two answers; ``name`` and ``rubric`` identify it in the verdict log."""

    @property
    def name(self) -> str: ...  # noqa: D102 - see the class

    @property
    def rubric(self) -> str: ...  # noqa: D102 - see the class

    async def prefer(self, pair: Pair, number: int) -> Judgement:
        """Solved when the first is better, unsolved when the second is, unsure when neither.

        Raises:
            ModelUnavailableError: the judge could not be reached.
        """
        ...


class ModelPairJudge(RubricJudge):
    """Compares two answers by a rubric for pairs."""

    async def prefer(self, pair: Pair, number: int) -> Judgement:
        """Ask once, in the order of the pair."""
        pieces = {"request": pair.text}
        for name, trajectory in (("first", pair.first), ("second", pair.second)):
            answer = final_text(trajectory) or _NO_ANSWER
            pieces[f"{name} assistant, final answer"] = shorten(answer, self._rubric.answer_limit)
            calls = describe_calls(trajectory, self._rubric) if trajectory else "No call was made."
            pieces[f"{name} assistant, calls"] = calls
        return await self._ask("pair", pieces, PREFERENCE, number)


class RulesPairJudge:
    """Prefers, without a model, the answer that carries data of more calls; not comparable with other judges."""

    name = "rules"
    rubric = "rules-1"

    async def prefer(self, pair: Pair, number: int) -> Judgement:  # noqa: ARG002 - every round is alike
        """The preference; the same in every round."""
        first, second = (_points(pair, trajectory) for trajectory in (pair.first, pair.second))
        if first == second:
            return Judgement(Status.UNSURE, "both carry as much data")
        return Judgement(Status.SOLVED if first > second else Status.UNSOLVED, "one carries more data")


def _points(pair: Pair, trajectory: Trajectory | None) -> float:
    if trajectory is None or not final_text(trajectory):
        return -1.0
    return POINTS[judge_by_rules(Case(trajectory, pair.query)).status]
