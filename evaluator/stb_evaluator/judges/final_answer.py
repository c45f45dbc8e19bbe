"""Final-answer correctness: one judge, temperature 0, query and final answer alone, solved or unsolved.

It says whether an answer is complete rather than whether it is true (metrics of the StableToolBench
project page, 2025).
"""

from __future__ import annotations

from stb_core.values import Judgement
from stb_evaluator.judges.ask import ReplyForm
from stb_evaluator.judges.judge import Case, RubricJudge
from stb_evaluator.judges.replies import CORRECTNESS_SCHEMA, read_correctness

CORRECTNESS = ReplyForm("correctness", CORRECTNESS_SCHEMA, read_correctness)


class FinalAnswerJudge(RubricJudge):
    """Judges by the query and the final answer alone."""

    async def judge(self, case: Case, number: int) -> Judgement:
        """Ask once; an answer that was not finished is never asked about."""
        return await self._ask("answer", self._answer_pieces(case), CORRECTNESS, number)
