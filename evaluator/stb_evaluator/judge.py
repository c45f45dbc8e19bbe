"""Judges: from one answer to one verdict. A judge that fails says so; it never says unsolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from stb_core.errors import RequestRefusedError, UnreadableReplyError
from stb_core.models import Model, Request
from stb_core.queries import Query
from stb_core.trajectories import Message, Trajectory, Usage
from stb_core.verdicts import Status
from stb_evaluator.fences import make_nonce, quote, shorten
from stb_evaluator.replies import VERDICT_SCHEMA, ReadVerdict, read_verdict
from stb_evaluator.rubrics import Rubric, fill

ATTEMPTS = 2


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
        said: list[str] = []
        usage = Usage()
        stages: list[str] = []
        verdict = ReadVerdict(Status.UNSURE, "")
        for stage, pieces in self._stages(case.trajectory):
            stages.append(stage)
            outcome = await self._ask(stage, pieces, number, said)
            usage += outcome.usage
            if outcome.verdict is None:
                return Judgement(Status.ERROR, outcome.problem, tuple(said), usage, {"stages": stages})
            verdict = outcome.verdict
            if verdict.status is not Status.UNSURE:
                break
        return Judgement(verdict.status, verdict.reason, tuple(said), usage, {"stages": stages})

    def _stages(self, trajectory: Trajectory) -> list[tuple[str, dict[str, str]]]:
        answer = {
            "request": trajectory.query,
            "final answer": shorten(trajectory.final_answer, self._rubric.answer_limit),
        }
        return [("answer", answer), ("trajectory", {**answer, "calls": self._calls(trajectory)})]

    def _calls(self, trajectory: Trajectory) -> str:
        """All calls in order; one text, so that no observation can end it."""
        limit = self._rubric.observation_limit
        lines = [
            f"Call {number}: {step.function}\nArguments: {shorten(step.arguments, limit)}\n"
            f"Came back: {shorten(step.observation, limit)}"
            for number, step in enumerate(trajectory.steps[:-1], start=1)
        ]
        return shorten("\n\n".join(lines) or "No call was made.", self._rubric.trajectory_limit)

    async def _ask(self, stage: str, pieces: Mapping[str, str], number: int, said: list[str]) -> _Outcome:
        usage, problem = Usage(), ""
        for attempt in range(ATTEMPTS):
            request = self._request(stage, pieces, number * ATTEMPTS + attempt)
            try:
                reply = await self._model.complete(request)
            except UnreadableReplyError as error:  # it has asked several times by itself
                said.append(_storable(error.reply))
                return _Outcome(None, usage + (error.usage or Usage()), error.message)
            except RequestRefusedError as error:
                return _Outcome(None, usage, error.message)
            usage += reply.usage
            said.append(_storable(reply.content or ""))
            try:
                return _Outcome(read_verdict(reply.content or ""), usage)
            except UnreadableReplyError as error:
                problem = error.message
        return _Outcome(None, usage, problem)

    def _request(self, stage: str, pieces: Mapping[str, str], seed: int) -> Request:
        nonce = make_nonce(pieces)
        user = fill(self._rubric.stages[stage], material=quote(pieces, nonce), nonce=nonce)
        return Request(
            messages=(
                Message(role="system", content=fill(self._rubric.system, nonce=nonce)),
                Message(role="user", content=user),
            ),
            temperature=self._rubric.temperature,
            max_tokens=self._rubric.max_tokens,
            seed=seed,
            response_schema=VERDICT_SCHEMA,
            schema_name="verdict",
        )


@dataclass(frozen=True)
class _Outcome:
    verdict: ReadVerdict | None
    usage: Usage
    problem: str = ""


def _storable(text: str) -> str:
    """A reply as it was said, but for halves of surrogate pairs, which no store takes."""
    return text.encode("utf-8", "replace").decode()


class RecordedJudge:
    """Repeats verdicts that are already known, by (answer hash, round); anything else is an error."""

    name = "recorded"
    rubric = "recorded"
    reusable = True

    def __init__(self, verdicts: Mapping[tuple[str, int], Status]) -> None:
        self._verdicts = verdicts

    async def judge(self, case: Case, number: int) -> Judgement:
        """The verdict on record."""
        status = self._verdicts.get((case.trajectory.answer_hash, number))
        if status is None:
            return Judgement(Status.ERROR, "no verdict is on record")
        return Judgement(status, "as recorded")
