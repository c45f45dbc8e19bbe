"""What ``stb score --metric`` can print: every judged metric, pass@k, and measures of trajectories."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from stb_core.values import SOPR
from stb_evaluator.judges import METRICS, OpenedJudges, Panel
from stb_evaluator.scores.judge_watch import JudgeWatch
from stb_evaluator.scores.labels import LabelSet, corrected_rows
from stb_evaluator.scores.pass_rate import Block, ResultRow
from stb_evaluator.scores.pass_verdicts import judge_run
from stb_evaluator.scores.rows import TRAJECTORY, measure_rows, score_rows
from stb_evaluator.scores.run_reader import RunReader
from stb_evaluator.scores.trial_rows import PASS_K, trial_rows
from stb_evaluator.scores.unsimulated import unsimulated_rows


@dataclass(frozen=True)
class ScoreRequest:
    """How to compute scores; ``rounds`` is None for the default of each metric and judge.

    ``watch`` looks for drift of judges.
    """

    rounds: int | None
    clustered: bool
    blocks: Sequence[Block]
    switches: Mapping[str, str]
    labels: LabelSet | None
    seed: int
    watch: JudgeWatch | None = None


@dataclass(frozen=True)
class ScoreMetric:
    """One name that ``--metric`` takes: whose verdicts it counts ("" for none), and the rows of one run."""

    judged_by: str
    rows: Callable[[RunReader, OpenedJudges, ScoreRequest], Awaitable[list[ResultRow]]]


def score_metrics() -> dict[str, ScoreMetric]:
    """All of them by name, those that a judge decides first."""
    return {
        **{name: ScoreMetric(name, partial(_judged_rows, name)) for name in METRICS},
        PASS_K: ScoreMetric(SOPR, _trial_rows),
        TRAJECTORY: ScoreMetric("", _measure_rows),
    }


async def _judged_rows(
    metric: str, reader: RunReader, judges: OpenedJudges, request: ScoreRequest
) -> list[ResultRow]:
    """The rows of one run, those of a panel before those of its members."""
    await judge_run(judges, reader, request.rounds, metric, request.watch)
    rounds = judges.rounds(request.rounds, metric)
    rows: list[ResultRow] = []
    for panel in _with_members(judges.panel(metric)):
        rows += await score_rows(
            reader,
            panel,
            metric=metric,
            rounds=rounds,
            blocks=request.blocks,
            switches=request.switches,
            clustered=request.clustered,
            seed=request.seed,
        )
        rows += await unsimulated_rows(reader, panel, rounds=rounds, metric=metric, seed=request.seed)
        if request.labels is not None and METRICS[metric].takes_labels:
            table = await reader.verdict_table(panel, rounds=rounds, metric=metric)
            rows += corrected_rows(reader.run.run, table, request.labels, panel, metric=metric)
    return rows


def _with_members(panel: Panel) -> list[Panel]:
    """A panel and each of its members; a single judge alone."""
    alone = [Panel((member,)) for member in panel.members]
    return alone if len(alone) == 1 else [panel, *alone]


async def _trial_rows(reader: RunReader, judges: OpenedJudges, request: ScoreRequest) -> list[ResultRow]:
    await judge_run(judges, reader, request.rounds, SOPR, request.watch)
    table = await reader.verdict_table(judges.panel(), rounds=judges.rounds(request.rounds))
    return trial_rows(reader.run, table, judges.panel(), seed=request.seed)


async def _measure_rows(reader: RunReader, _: OpenedJudges, request: ScoreRequest) -> list[ResultRow]:
    return await measure_rows(reader, seed=request.seed)
