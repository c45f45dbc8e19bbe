"""Opening a judge by its name, and having it judge what is lacking."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stb_core import console
from stb_core.errors import UsageError
from stb_core.openai_model import OpenAIModel
from stb_core.providers import open_model
from stb_core.settings import Settings
from stb_core.store import Store
from stb_core.store.runs import Run
from stb_evaluator.judge import Judge, ModelJudge
from stb_evaluator.passing import fill_log
from stb_evaluator.preference import ModelPairJudge, PairJudge, RulesPairJudge
from stb_evaluator.rubrics import cut_rubric, load_rubric
from stb_evaluator.rules import RulesJudge
from stb_evaluator.scores import METRIC
from stb_evaluator.verdict_log import Tally

RECORDED = "recorded"
RULES = "rules"
RUBRIC = "sopr-1"
PAIR_RUBRIC = "sowr-1"
DEFAULT_ROUNDS = 3

_CHOICES = "Choose a judge: --judge PROVIDER/MODEL, or --judge rules (no model; not comparable)."


async def default_judge(store: Store, runs: Sequence[Run]) -> str:
    """``recorded`` where all runs have recorded verdicts, else the one judge that has judged them all.

    Raises:
        UsageError: a judge must be chosen.
    """
    common: set[str] | None = None
    for run in runs:
        judges = {one.judge for one in await store.verdicts.judges(run.run, metric=METRIC)}
        if not judges:
            raise UsageError(f"The run {run.run!r} has no verdicts yet.", hint=_CHOICES)
        common = judges if common is None else common & judges
    if common and RECORDED in common:
        return RECORDED
    if common and len(common) == 1:
        return common.pop()
    names = ", ".join(run.run for run in runs)
    if common:
        raise UsageError(
            f"{names} have verdicts of {', '.join(sorted(common))}.", hint="Choose with --judge."
        )
    raise UsageError(f"No judge has judged all of {names}.", hint=_CHOICES)


@dataclass(frozen=True)
class OpenedJudge:
    """A judge ready for use; ``judge`` is None for ``recorded``, whose log is never added to."""

    name: str
    rubric: str
    judge: Judge | None = None
    model: OpenAIModel | None = None

    def rounds(self, wanted: int | None) -> int | None:
        """How many rounds count; None for all that are there."""
        if wanted is not None or self.judge is None:
            return wanted
        return 1 if self.name == RULES else DEFAULT_ROUNDS

    def of_pairs(self, *, cut: bool = False) -> PairJudge | None:
        """The judge that compares answers; ``cut`` shows it as little of them as the published code does."""
        if self.model is not None:
            rubric = load_rubric(PAIR_RUBRIC)
            return ModelPairJudge(self.model, cut_rubric(rubric) if cut else rubric)
        return RulesPairJudge() if self.name == RULES else None


@asynccontextmanager
async def opened_judge(name: str, settings: Settings, *, connections: int) -> AsyncGenerator[OpenedJudge]:
    """The judge of that name, until the block ends.

    Raises:
        UsageError: it is not the name of a judge, or it is not known where the model is.
    """
    if name == RECORDED:
        yield OpenedJudge(RECORDED, RECORDED)
    elif name == RULES:
        yield OpenedJudge(RULES, RulesJudge.rubric, RulesJudge())
    elif "/" not in name:
        raise UsageError(f"There is no judge {name!r}.", hint=_CHOICES)
    else:
        model = open_model(name, settings, connections=connections)
        judge = ModelJudge(model, load_rubric(RUBRIC))
        try:
            yield OpenedJudge(judge.name, judge.rubric, judge, model)
        finally:
            await model.close()


async def fill(
    store: Store,
    run: Run,
    opened: OpenedJudge,
    *,
    rounds: int | None,
    connections: int,
    retry_errors: bool = False,
    quiet: bool = False,
) -> None:
    """Have the judge give a run the verdicts that it lacks, with a progress bar unless ``quiet``."""
    if opened.judge is None:
        return
    if opened.model is not None:
        await opened.model.check()
    with console.progress(quiet=quiet) as bar:
        task = bar.add_task(f"Judging {run.run}", total=None, note="")
        tally = await fill_log(
            store,
            run,
            opened.judge,
            rounds=opened.rounds(rounds) or 1,
            connections=connections,
            retry_errors=retry_errors,
            advance=lambda done, total: bar.update(task, completed=done, total=total),
        )
    tell(run.run, tally)


def tell(what: str, tally: Tally) -> None:
    """Say on stderr what the judge did not manage."""
    if tally.unavailable:
        console.say(f"{what}: {tally.unavailable} verdicts could not be asked for: {tally.last_problem}")
    if tally.errors:
        console.say(f"{what}: the judge failed on {tally.errors} verdicts; ask again with --retry-errors.")
