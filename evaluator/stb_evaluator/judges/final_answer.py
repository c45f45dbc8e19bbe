"""Final-answer correctness: one judge, temperature 0, query and final answer alone, solved or unsolved.

It tells completeness rather than truth (metrics of the StableToolBench project page, 2025).
"""

from __future__ import annotations

from collections.abc import Mapping

from stb_core.llm.protocol import Model
from stb_core.store import Store
from stb_core.store.runs import Run
from stb_core.values.verdicts import FAC, Status
from stb_evaluator.judges.ask import Form, ask
from stb_evaluator.judges.judge import Case, Judgement
from stb_evaluator.judges.panel import Panel
from stb_evaluator.judges.quoting import shorten
from stb_evaluator.judges.replies import CORRECTNESS_SCHEMA, ReadVerdict, read_by_words, read_correctness
from stb_evaluator.judges.rubrics import Rubric

CORRECTNESS = Form("correctness", CORRECTNESS_SCHEMA, read_correctness)


class FinalAnswerJudge:
    """A language model that sees query and final answer."""

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
        """Ask once; an answer that was not finished is never asked about."""
        pieces = {
            "request": case.trajectory.query,
            "final answer": shorten(case.trajectory.final_answer, self._rubric.answer_limit),
        }
        asked = await ask(self._model, self._rubric, "answer", pieces, CORRECTNESS, number=number)
        verdict = asked.verdict or ReadVerdict(Status.ERROR, asked.problem)
        return Judgement(verdict.status, verdict.reason, asked.raw, asked.usage)


async def reread_by_words(store: Store, run: Run, panel: Panel) -> Mapping[tuple[str, str, int, int], Status]:
    """What the published code would have read in the same replies, by (group, query, trial, round)."""
    found: dict[tuple[str, str, int, int], Status] = {}
    for member in panel.members:
        for verdict in await store.verdicts.of_run(
            run.run, metric=FAC, judge=member.judge, rubric=member.rubric
        ):
            if verdict.raw:
                place = (verdict.group, verdict.query_id, verdict.trial, verdict.round)
                found[place] = read_by_words(verdict.raw[-1])
    return found
