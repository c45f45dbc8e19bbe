"""Opening judges by their names, and choosing among those whose verdicts are in the store."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stb_core.cli import console
from stb_core.errors import UsageError
from stb_core.llm import AcceptedShapes, BlamingModel, CostLimit, Model, open_model, price_of
from stb_core.settings import Settings
from stb_core.store import Run, Store
from stb_core.usage import Price
from stb_core.values import SOPR
from stb_evaluator.judges.forecast import Allowance, PromptMeter
from stb_evaluator.judges.imported import is_imported
from stb_evaluator.judges.judge import Judge, ModelJudge
from stb_evaluator.judges.metrics import METRICS
from stb_evaluator.judges.official_form import Evaluator, OfficialPairJudge, load_evaluator
from stb_evaluator.judges.pairs import ModelPairJudge, PairJudge, RulesPairJudge
from stb_evaluator.judges.panel import Panel, PanelMember
from stb_evaluator.judges.replies import find_reply
from stb_evaluator.judges.rubrics import CUT, cut_rubric, load_rubric
from stb_evaluator.judges.rules import RulesJudge

if TYPE_CHECKING:
    from stb_core.llm.openai_client import OpenAIModel

RECORDED = "recorded"
RULES = "rules"
PAIR_RUBRIC = "sowr-1"

# Providers that may change the model behind a name.
HOSTED = frozenset(
    {"anthropic", "azure", "cohere", "deepseek", "gemini", "google", "mistral", "openai", "xai"}
)
_DATED = re.compile(r"(?<!\d)(?:20\d{2}-?\d{2}(?:-?\d{2})?|[01]\d[0-3]\d|2\d[01]\d)(?!\d)")

_CHOICES = "Choose a judge: --judge PROVIDER/MODEL, or --judge rules (no model; not comparable)."


async def default_judge(store: Store, runs: Sequence[Run], metric: str = SOPR) -> str:
    """``recorded`` if all runs have recorded verdicts, otherwise the only judge that has judged all of them.

    A run in which no answer needs a judge goes with any judge; ``recorded``, which asks nobody, if there is no other.

    Raises:
        UsageError: a judge must be chosen.
    """
    common: set[str] | None = None
    for run in runs:
        judges = {one.judge for one in await store.verdicts.judges(run.run, metric=metric)}
        if not judges:
            if not await store.runs.needs_judge(run.run):
                continue
            raise UsageError(f"The run {run.run!r} has no verdicts yet.", hint=_CHOICES)
        common = judges if common is None else common & judges
    if common is None or RECORDED in common:
        return RECORDED
    if common and len(common) == 1:
        return common.pop()
    names = ", ".join(run.run for run in runs)
    if common:
        raise UsageError(
            f"There are verdicts on {names} by {', '.join(sorted(common))}.", hint="Choose with --judge."
        )
    raise UsageError(f"No judge has judged all of {names}.", hint=_CHOICES)


async def logged_panel(store: Store, runs: Sequence[Run], names: str, metric: str = SOPR) -> Panel:
    """The judges of these names, each with the last rubric that it used on all runs; asks no judge.

    A run in which no answer needs a judge goes with any rubric.

    Raises:
        UsageError: one of them has not judged all runs with one rubric.
    """
    members: list[PanelMember] = []
    judged = [run for run in runs if await store.runs.needs_judge(run.run)]
    for name in dict.fromkeys(part.strip() for part in names.split(",")):
        if is_imported(name):
            members.append(PanelMember(name, RECORDED))
            continue
        common: list[str] | None = None
        for run in judged:
            logged = await store.verdicts.judges(run.run, metric=metric)
            rubrics = [one.rubric for one in logged if one.judge == name]
            common = rubrics if common is None else [rubric for rubric in common if rubric in rubrics]
        if not judged:
            common = [_rubric_now(name, metric)]
        if not common:
            listed = ", ".join(run.run for run in runs)
            raise UsageError(f"{name} has not judged all of {listed}.", hint="Run stb score first.")
        members.append(PanelMember(name, common[-1]))
    return Panel(tuple(members))


def _rubric_now(name: str, metric: str) -> str:
    """The rubric that a judge of this name would use now."""
    form = METRICS[metric]
    if name == RECORDED:
        return RECORDED
    if name == RULES and form.open_rules is not None:
        return form.open_rules().rubric
    return load_rubric(form.rubric).hash


@dataclass(frozen=True)
class OpenedJudge:
    """A judge ready for use: ``recorded`` or ``imported:NAME`` (verdicts that came with files), ``rules``, or a model."""

    name: str
    model: Model | None = None
    evaluator: Evaluator | None = None
    endpoint: OpenAIModel | None = None
    """What is behind ``model``; None if nobody is asked."""
    price: Price | None = None
    """Of the model's tokens, as far as the settings say."""

    async def check(self) -> None:
        """Check that a model can be reached; asks it nothing.

        Raises:
            ModelUnavailableError: it cannot be reached, or refuses the key.
        """
        if self.endpoint is not None:
            await self.endpoint.check()

    def of_answers(self, metric: str = SOPR) -> Judge | None:
        """The judge of single answers; None where verdicts that came with files count.

        Raises:
            UsageError: it cannot judge by this metric.
        """
        form = METRICS[metric]
        if self.name == RULES:
            if form.open_rules is None:
                raise UsageError(f"There are no rules for {metric}.", hint="Use --judge PROVIDER/MODEL.")
            return form.open_rules()
        if self.model is None:
            return None
        if self.evaluator is not None and form.open_official is not None:
            return form.open_official(self.model, self.evaluator)
        return form.open_judge(self.model, load_rubric(form.rubric))

    def of_pairs(self, *, cut: bool = False) -> PairJudge | None:
        """The judge that compares answers; ``cut`` shows it only as much of them as the published code does."""
        if self.model is not None and self.evaluator is not None:
            return OfficialPairJudge(self.model, self.evaluator, limit=CUT if cut else None)
        if self.model is not None:
            rubric = load_rubric(PAIR_RUBRIC)
            return ModelPairJudge(self.model, cut_rubric(rubric) if cut else rubric)
        return RulesPairJudge() if self.name == RULES else None

    def of_answers_in_pairs(self, *, cut: bool = False) -> Judge | None:
        """The judge that says whether an answer of a pair is solved, seen as the pair shows it."""
        if self.model is not None and self.evaluator is not None:
            return OfficialPairJudge(self.model, self.evaluator, limit=CUT if cut else None)
        if self.model is not None:
            rubric = load_rubric(METRICS[SOPR].rubric)
            return ModelJudge(self.model, cut_rubric(rubric) if cut else rubric)
        return RulesJudge() if self.name == RULES else None


@dataclass(frozen=True)
class OpenedJudges:
    """The judges of a command, and how to ask them."""

    members: tuple[OpenedJudge, ...]
    connections: int
    retry_errors: bool = False
    quiet: bool = False
    limit: CostLimit | None = None
    copy_rounds: bool = False
    """Whether rounds after the first are copies of it; only for judges that are asked at temperature 0."""

    def allowance(self, opened: OpenedJudge) -> Allowance | None:
        """What one of the judges may cost; None without a limit."""
        return Allowance(self.limit, opened.price) if self.limit and opened.price else None

    def panel(self, metric: str = SOPR) -> Panel:
        """The judges as the verdict log names them."""
        asked = [(opened, opened.of_answers(metric)) for opened in self.members]
        return Panel(tuple(PanelMember(o.name, judge.rubric if judge else RECORDED) for o, judge in asked))

    def rounds(self, wanted: int | None, metric: str = SOPR) -> int | None:
        """How many rounds count; None for all rounds in the log."""
        if wanted is not None or all(one.name == RECORDED or is_imported(one.name) for one in self.members):
            return wanted
        return 1 if all(opened.name == RULES for opened in self.members) else METRICS[metric].rounds


@asynccontextmanager
async def open_judges(
    names: str,
    settings: Settings,
    *,
    connections: int,
    retry_errors: bool = False,
    quiet: bool = False,
    evaluator: Path | None = None,
    limit: CostLimit | None = None,
    dry_run: bool = False,
    timeout_s: float | None = None,
    copy_rounds: bool = False,
) -> AsyncGenerator[OpenedJudges]:
    """The judges of these names, separated by commas, until the block ends; none for no name.

    With ``evaluator``, a folder in the official form, models judge by it instead of by our rubrics.
    ``limit`` limits what all of them cost. In a ``dry_run`` no model is opened. ``timeout_s`` is the longest
    time for one reply, None for the default. ``copy_rounds`` see ``OpenedJudges``.

    Raises:
        UsageError: a name is not that of a judge, the address of its model is unknown, or its price is
            unknown and there is a limit on cost.
    """
    loaded = load_evaluator(evaluator) if evaluator is not None else None
    async with AsyncExitStack() as stack:
        judges: list[OpenedJudge] = []
        for name in dict.fromkeys(part.strip() for part in names.split(",") if names):
            if name in {RECORDED, RULES} or is_imported(name):
                judges.append(OpenedJudge(name))
                continue
            if "/" not in name:
                raise UsageError(f"There is no judge {name!r}.", hint=_CHOICES)
            if is_floating(name):
                console.print_note(
                    f"NOTE: {name} is not a dated version, so its provider may change the model behind it."
                    " Use a dated version to keep scores comparable."
                )
            price = price_for_limit(name, settings, limit)
            if dry_run:
                judges.append(OpenedJudge(name, PromptMeter(name), loaded, price=price))
                continue
            model = open_model(
                name,
                settings,
                connections=connections,
                find=find_reply,
                timeout_s=timeout_s,
                say=console.print_note,
            )
            stack.push_async_callback(model.close)
            asked = BlamingModel(model, AcceptedShapes())
            judges.append(OpenedJudge(model.name, asked, loaded, model, price))
        yield OpenedJudges(tuple(judges), connections, retry_errors, quiet, limit, copy_rounds)


def price_for_limit(name: str, settings: Settings, limit: CostLimit | None) -> Price | None:
    """The price of a judge's tokens; None if it is unknown.

    Raises:
        UsageError: it is unknown, and there is a limit on cost.
    """
    price = price_of(name, settings.values)
    if price is None and limit is not None:
        raise UsageError(
            f"A limit on cost needs the price of {name}.",
            hint=f'Write into stb.toml: [prices]  "{name}" = {{ input = 0.15, output = 0.60 }}.',
        )
    return price


def is_floating(name: str) -> bool:
    """Whether a hosted model is named without a dated version. Self-hosted models do not change silently."""
    provider, _, model = name.partition("/")
    return provider in HOSTED and not _DATED.search(model)
