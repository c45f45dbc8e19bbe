"""What can be judged of a single answer: one row per metric. A new one needs its row here, and a rubric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stb_core.llm import Model
from stb_core.values import SOPR, Status
from stb_core.values.verdicts import FAC
from stb_evaluator.judges.final_answer import FinalAnswerJudge
from stb_evaluator.judges.judge import Judge, ModelJudge
from stb_evaluator.judges.official_form import Evaluator, OfficialJudge
from stb_evaluator.judges.replies import read_by_words
from stb_evaluator.judges.rubrics import Rubric
from stb_evaluator.judges.rules import RulesJudge


@dataclass(frozen=True)
class Metric:
    """How answers are judged by one metric; everything else follows from this."""

    label: str
    """What tables call it."""
    rubric: str
    """Name of the rubric, a file in ``rubrics/``."""
    rounds: int
    """Verdicts of a model on each answer, unless the user says otherwise."""
    open_judge: Callable[[Model, Rubric], Judge]
    """Makes the judge of a model and the rubric."""
    open_official: Callable[[Model, Evaluator], Judge] | None = None
    """Makes the judge of a model and an evaluator in the official form; None if there is no such form."""
    open_rules: Callable[[], Judge] | None = None
    """Makes the judge that needs no model; None if there are no rules."""
    reread: Callable[[str], Status] | None = None
    """How the published code reads a judge's reply, where a switch ``<metric>.reading`` can ask for it."""
    takes_labels: bool = False
    """Whether human labels of answers say the same thing, so that they can correct its scores."""


METRICS: dict[str, Metric] = {
    SOPR: Metric("SoPR", "sopr-1", 3, ModelJudge, OfficialJudge, RulesJudge, takes_labels=True),
    FAC: Metric("FAC", "fac-1", 1, FinalAnswerJudge, reread=read_by_words),
}
