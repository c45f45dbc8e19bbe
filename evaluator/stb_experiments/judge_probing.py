"""Ask a judge about probes and anchors, and measure its consistency and cost on stored verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stb_core.store import Run, Store, WorkPlace, claim_once
from stb_core.store.work import ANCHORS
from stb_core.values import Judgement, Query, Status, Trajectory, Verdict
from stb_evaluator.judges import (
    Anchor,
    Case,
    Judge,
    JudgingTally,
    Panel,
    Questions,
    claim_questions,
    judge_all,
    load_undisputed,
)
from stb_evaluator.reports import consistency_row
from stb_evaluator.scores import QUALITY, LabelSet, VerdictTable, corrected_rows, without_agent_name
from stb_evaluator.scores.anchors import (
    UNDISPUTED,
    AnchorSession,
    ask_anchors,
    count_changes,
    load_sessions,
    share_right,
)
from stb_experiments.judge_probes import PROBES, Flips, count_flips, length_correlation
from stb_experiments.output import ExperimentRow

PROBE = "probe"


@dataclass(frozen=True)
class Findings:
    """Measures of a judge (``rows``), and the verdicts that they were computed from (``data``)."""

    rows: list[ExperimentRow]
    data: list[ExperimentRow] = field(default_factory=list)


@dataclass(frozen=True)
class ProbeTrial:
    """One question to the judge: an answer of a run, as a probe has changed it."""

    run: str
    trajectory: Trajectory
    query: Query | None


async def probe_judge(
    store: Store,
    run: Run,
    judge: Judge,
    *,
    queries: Mapping[tuple[str, str], Query],
    chosen: Sequence[tuple[Trajectory, Status]],
    connections: int,
    tally: JudgingTally,
    advance: Callable[[int, int], None] = lambda _done, _all: None,
) -> Findings:
    """Ask a judge about each answer as altered by each probe, and about the anchors.

    Verdicts on probes are stored and asked for once. Anchors are asked about every time, so that a change of the
    judge shows. ``chosen`` holds answers with the verdicts that they got, see ``judged_answers``; ``queries`` are those
    of the run that are known, by group and id. Processes that do it at the same time share the questions.
    """
    trials = [
        ProbeTrial(
            run.run,
            change(without_agent_name(run, t.model_copy(update={"tree": None}))),
            queries.get((t.group, t.query_id)),
        )
        for change in PROBES.values()
        for t, _ in chosen
    ]

    async def missing() -> list[ProbeTrial]:
        there = await _known(store, judge, trials)
        return [trial for trial in trials if trial.trajectory.answer_hash not in there]

    def verdict(trial: ProbeTrial, judgement: Judgement) -> Verdict:
        return _verdict(judge, trial, judgement)

    async with claim_questions(
        store, run.run, await missing(), missing, verdict, connections=connections, by_answer=True
    ) as questions:
        anchored = await _ask_undisputed(store, run, judge, questions, connections, tally)
        await judge_all(
            store,
            questions,
            lambda trial: judge.judge(Case(trial.trajectory, trial.query), 0),
            verdict,
            connections=connections,
            tally=tally,
            advance=advance,
        )
    known = await _known(store, judge, trials)
    found = Findings(anchored)
    for number, probe in enumerate(PROBES):
        mine = trials[number * len(chosen) : (number + 1) * len(chosen)]
        after = [known.get(trial.trajectory.answer_hash, Status.ERROR) for trial in mine]
        found.rows.append(_flip_row(probe, count_flips([status for _, status in chosen], after)))
        found.data.extend(
            {
                "probe": probe,
                "group": answer.group,
                "query_id": answer.query_id,
                "trial": answer.trial,
                "before": before.value,
                "after": after_change.value,
            }
            for (answer, before), after_change in zip(chosen, after, strict=True)
        )
    return found


async def judged_answers(store: Store, run: Run, table: VerdictTable) -> list[tuple[Trajectory, Status]]:
    """The answers of a run that were judged, each with its verdict of the first round."""
    return [
        (t, table.marks[t.group, t.query_id, t.trial, 0].status)
        async for t in store.runs.trajectories(run.run)
        if t.answer_hash and (t.group, t.query_id, t.trial, 0) in table.marks
    ]


async def log_rows(
    store: Store,
    run: Run,
    panel: Panel,
    table: VerdictTable,
    judged: Sequence[tuple[Trajectory, Status]],
    labels: LabelSet | None,
) -> list[ExperimentRow]:
    """Measures that need only the stored verdicts of a judge on a run."""
    lengths = [len(t.final_answer) for t, _ in judged]
    correlation = length_correlation(lengths, [status for _, status in judged])
    rows = [noise_row(table)] if table.n_rounds > 1 else []
    rows.append(measure_row("length_correlation", correlation, len(judged), unit="rho"))
    rows += _consistency(run.run, table, panel) + await _cost(store, run, panel)
    if labels is not None:
        rows += [
            measure_row(r["metric"], r["value"], r["n"], ends=(r["ci_low"], r["ci_high"]))
            for r in corrected_rows(run.run, table, labels, panel)
            if r["block"] == QUALITY
        ]
    return rows


def noise_row(table: VerdictTable) -> ExperimentRow:
    """How often the second round has another verdict than the first: changes without a change of the answer."""
    pairs = [
        (mark.status, second.status)
        for (group, query_id, trial, number), mark in table.marks.items()
        if number == 0
        and table.answers[group, query_id, trial].answer_hash
        and (second := table.marks.get((group, query_id, trial, 1)))
    ]
    flips = count_flips([one for one, _ in pairs], [other for _, other in pairs])
    return _flip_row("by_chance", flips, "the same answer in the second round")


def _flip_row(probe: str, flips: Flips, note: str = "") -> ExperimentRow:
    interval = flips.interval
    return measure_row(
        f"flipped_{probe}",
        None if interval is None else 100 * flips.flipped / flips.n,
        flips.n,
        ends=None if interval is None else (interval.low * 100, interval.high * 100),
        note=note or f"{flips.upward} in the answer's favour",
    )


async def _ask_undisputed(
    store: Store,
    run: Run,
    judge: Judge,
    questions: Questions[ProbeTrial],
    connections: int,
    tally: JudgingTally,
) -> list[ExperimentRow]:
    """Ask about the anchors, unless another process that tries the judge on the run has just done so."""
    _, anchors = load_undisputed()
    item = f"{UNDISPUTED} {judge.name} {judge.rubric}"
    place = WorkPlace(run.run, ANCHORS)
    async with claim_once(store.work, place, item, since=questions.began_at) as is_mine:
        if is_mine:
            number = len(await load_sessions(store, judge, UNDISPUTED))
            await ask_anchors(store, judge, UNDISPUTED, anchors, number, connections=connections, tally=tally)
    sessions = await load_sessions(store, judge, UNDISPUTED)
    return _anchor_rows(anchors, sessions[:-1], sessions[-1] if sessions else {})


async def _known(store: Store, judge: Judge, trials: Sequence[ProbeTrial]) -> dict[str, Status]:
    """The verdict on each changed answer, by its hash, where one is stored."""
    runs = {trial.run for trial in trials}
    hashes = [trial.trajectory.answer_hash for trial in trials]
    found: dict[str, Status] = {}
    for verdict in await store.verdicts.by_answers(
        hashes, metric=PROBE, judge=judge.name, rubric=judge.rubric, own=runs
    ):
        if verdict.status is not Status.ERROR and not verdict.round:
            found.setdefault(verdict.answer_hash, verdict.status)
    return found


def _verdict(judge: Judge, trial: ProbeTrial, judgement: Judgement) -> Verdict:
    answer = trial.trajectory
    return Verdict.of(
        judgement,
        (answer.group, answer.query_id, answer.trial),
        run=trial.run,
        metric=PROBE,
        judge=judge.name,
        rubric=judge.rubric,
        number=0,
        answer_hash=answer.answer_hash,
    )


def _anchor_rows(
    anchors: Sequence[Anchor], sessions: Sequence[AnchorSession], now: AnchorSession
) -> list[ExperimentRow]:
    """How many anchors got the expected grade, and how many got another grade than the first time."""
    n_right, n = share_right(anchors, now)
    note, moved = "first time", 0
    if sessions:
        moved = count_changes(sessions[0], now).changes.total()
        note = f"{moved} differ from the first of {len(sessions) + 1} times"
    return [
        measure_row("anchors_right", 100 * n_right / n if n else None, n, note=note),
        measure_row("anchors_moved", float(moved), n, unit="answers", note=note),
    ]


def _consistency(run: str, table: VerdictTable, panel: Panel) -> list[ExperimentRow]:
    found = consistency_row(run, table, panel)
    return [
        measure_row("unanimous", found["unanimous"], found["n"], note=f"{found['rounds']} rounds"),
        measure_row("fleiss_kappa", found["fleiss_kappa"], found["n"], unit="kappa"),
        measure_row("krippendorff_alpha", found["krippendorff_alpha"], found["n"], unit="alpha"),
    ]


async def _cost(store: Store, run: Run, panel: Panel) -> list[ExperimentRow]:
    verdicts = [
        verdict
        for member in panel.members
        for verdict in await store.verdicts.of_run(run.run, judge=member.judge, rubric=member.rubric)
    ]
    paid = [v.usage for v in verdicts if v.usage.model_calls]
    if not paid:
        return []
    costs = [usage.cost_usd for usage in paid if usage.cost_usd is not None]
    rows = [
        measure_row(
            "calls_per_verdict", float(np.mean([u.model_calls for u in paid])), len(paid), unit="calls"
        ),
        measure_row(
            "tokens_per_verdict", float(np.mean([u.total_tokens for u in paid])), len(paid), unit="tokens"
        ),
    ]
    if costs:
        rows.append(measure_row("cost_per_verdict", float(np.mean(costs)), len(costs), unit="USD"))
    return rows


def measure_row(
    measure: str,
    value: float | None,
    n: int,
    *,
    unit: str = "%",
    ends: tuple[float | None, float | None] | None = None,
    note: str = "",
) -> ExperimentRow:
    """One measure of a judge; ``ends`` are the ends of its 95 % interval, in the same unit."""
    low, high = ends if ends is not None else (None, None)
    if value is not None and low is not None and high is not None:
        low, high = min(low, value), max(high, value)  # they may miss it by a rounding error
    return {
        "measure": measure,
        "value": value,
        "unit": unit,
        "ci_low": low,
        "ci_high": high,
        "n": n,
        "note": note,
    }
