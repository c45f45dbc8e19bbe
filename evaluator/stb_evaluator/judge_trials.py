"""Asking a judge about probes and anchors, and what its log tells of its consistency and cost."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stb_core.manifest import Manifest
from stb_core.store import Store
from stb_core.store.runs import Run
from stb_core.trajectories import Trajectory
from stb_core.verdicts import Status, Verdict
from stb_evaluator.judge import Case, Judge, Judgement
from stb_evaluator.juries import Jury, jury_of
from stb_evaluator.labels import LabelSet, corrected_rows
from stb_evaluator.loading import load_sheet
from stb_evaluator.probes import PROBES, count_flips, length_correlation, load_anchors
from stb_evaluator.reports.content import consistency_row
from stb_evaluator.results import Row
from stb_evaluator.sheets import Sheet
from stb_evaluator.solvable import MODE
from stb_evaluator.verdict_log import Tally, judge_all

PROBE, ANCHOR = "probe", "anchor"
ANCHOR_RUN = "judge-anchors"


@dataclass(frozen=True)
class Trial:
    """One question: an answer in some clothes, and under which metric its verdict is kept."""

    run: str
    trajectory: Trajectory
    metric: str
    number: int


async def try_judge(
    store: Store,
    run: Run,
    judge: Judge,
    *,
    rounds: int | None,
    sample: int,
    connections: int,
    labels: LabelSet | None = None,
    seed: int = 0,
    advance: Callable[[int, int], None] = lambda _done, _all: None,
) -> tuple[list[Row], Tally]:
    """All measures of a judge whose verdicts on a run are there already.

    Asks about ``sample`` answers of the run in the clothes of each probe (once; verdicts are kept), and
    about the anchors (every time anew, so that drift shows).
    """
    jury = jury_of(judge.name, judge.rubric)
    sheet = await load_sheet(store, run, jury, rounds=rounds)
    judged = [
        (t, sheet.marks[t.group, t.query_id, t.trial, 0].status)
        async for t in store.runs.trajectories(run.run)
        if (t.group, t.query_id, t.trial, 0) in sheet.marks
    ]
    chosen = random.Random(seed).sample(judged, min(sample, len(judged)))
    trials = [
        Trial(run.run, change(t.model_copy(update={"tree": None})), PROBE, 0)
        for change in PROBES.values()
        for t, _ in chosen
    ]
    name, anchors = load_anchors()
    await store.runs.create(ANCHOR_RUN, Manifest(dataset=name, dataset_hash="", agent=name, mode=MODE), {})
    past = await _anchor_rounds(store, judge)
    trials += [Trial(ANCHOR_RUN, anchor.trajectory, ANCHOR, len(past)) for anchor in anchors]
    tally = Tally()
    known = await _ask(store, judge, trials, connections, tally, advance)
    rows: list[Row] = []
    for number, probe in enumerate(PROBES):
        mine = trials[number * len(chosen) : (number + 1) * len(chosen)]
        after = [known.get((PROBE, trial.trajectory.answer_hash, 0), Status.ERROR) for trial in mine]
        flips = count_flips([status for _, status in chosen], after)
        interval = flips.interval
        rows.append(
            _row(
                f"flipped_{probe}",
                None if interval is None else 100 * flips.flipped / flips.n,
                flips.n,
                ends=None if interval is None else (interval.low * 100, interval.high * 100),
                note=f"{flips.upward} in the answer's favour",
            )
        )
    rows += _anchor_rows([a.expected for a in anchors], [*past, await _latest(store, judge, len(past))])
    lengths = [len(t.final_answer) for t, _ in judged]
    correlation = length_correlation(lengths, [status for _, status in judged])
    rows.append(_row("length_correlation", correlation, len(judged), unit="rho"))
    rows += _consistency(run.run, sheet, jury) + await _cost(store, run, judge)
    if labels is not None:
        rows += [
            _row(r["metric"], r["value"], r["n"], ends=(r["ci_low"], r["ci_high"]))
            for r in corrected_rows(run.run, sheet, labels, jury)
            if r["block"] == "judge"
        ]
    return [{"judge": judge.name, "rubric": judge.rubric, "run": run.run, **row} for row in rows], tally


async def _ask(
    store: Store,
    judge: Judge,
    trials: Sequence[Trial],
    connections: int,
    tally: Tally,
    advance: Callable[[int, int], None],
) -> dict[tuple[str, str, int], Status]:
    """The verdict of each trial by (metric, answer, round); asks where the log has none."""

    async def known() -> dict[tuple[str, str, int], Status]:
        found: dict[tuple[str, str, int], Status] = {}
        for metric in (PROBE, ANCHOR):
            hashes = [t.trajectory.answer_hash for t in trials if t.metric == metric]
            for verdict in await store.verdicts.by_answers(
                hashes, metric=metric, judge=judge.name, rubric=judge.rubric
            ):
                if verdict.status is not Status.ERROR:
                    found.setdefault((metric, verdict.answer_hash, verdict.round), verdict.status)
        return found

    before = await known()
    jobs = [t for t in trials if (t.metric, t.trajectory.answer_hash, t.number) not in before]
    await judge_all(
        store,
        jobs,
        lambda trial: judge.judge(Case(trial.trajectory), trial.number),
        lambda trial, judgement: _verdict(judge, trial, judgement),
        connections=connections,
        tally=tally,
        advance=advance,
    )
    return await known()


def _verdict(judge: Judge, trial: Trial, judgement: Judgement) -> Verdict:
    return Verdict(
        run=trial.run,
        group=trial.trajectory.group,
        query_id=trial.trajectory.query_id,
        trial=trial.trajectory.trial,
        metric=trial.metric,
        judge=judge.name,
        rubric=judge.rubric,
        round=trial.number,
        status=judgement.status,
        reason=judgement.reason,
        answer_hash=trial.trajectory.answer_hash,
        raw=judgement.raw,
        usage=judgement.usage,
    )


async def _anchor_rounds(store: Store, judge: Judge) -> list[dict[str, Status]]:
    """Earlier verdicts on the anchors, one entry a time: anchor number → status."""
    marks = await store.verdicts.marks(ANCHOR_RUN, metric=ANCHOR, judge=judge.name, rubric=judge.rubric)
    times = max((mark.round + 1 for mark in marks), default=0)
    found: list[dict[str, Status]] = [{} for _ in range(times)]
    for mark in marks:
        found[mark.round].setdefault(mark.query_id, mark.status)
    return found


async def _latest(store: Store, judge: Judge, number: int) -> dict[str, Status]:
    rounds = await _anchor_rounds(store, judge)
    return rounds[number] if number < len(rounds) else {}


def _anchor_rows(expected: Sequence[Status], times: Sequence[dict[str, Status]]) -> list[Row]:
    """How many anchors got the grade that they deserve, and how many another than the first time."""
    latest, first = times[-1], times[0]
    readable = {q: s for q, s in latest.items() if s is not Status.ERROR}
    right = sum(status is expected[int(query_id)] for query_id, status in readable.items())
    moved = sum(first.get(q, s) is not s for q, s in readable.items() if first.get(q) is not Status.ERROR)
    n = len(readable)
    note = "first time" if len(times) == 1 else f"{moved} differ from the first of {len(times)} times"
    return [
        _row("anchors_right", 100 * right / n if n else None, n, note=note),
        _row("anchors_moved", float(moved), n, unit="answers", note=note),
    ]


def _consistency(run: str, sheet: Sheet, jury: Jury) -> list[Row]:
    found = consistency_row(run, sheet, jury)
    return [
        _row("unanimous", found["unanimous"], found["n"], note=f"{found['rounds']} rounds"),
        _row("fleiss_kappa", found["fleiss_kappa"], found["n"], unit="kappa"),
        _row("krippendorff_alpha", found["krippendorff_alpha"], found["n"], unit="alpha"),
    ]


async def _cost(store: Store, run: Run, judge: Judge) -> list[Row]:
    verdicts = await store.verdicts.of_run(run.run, judge=judge.name, rubric=judge.rubric)
    paid = [v.usage for v in verdicts if v.usage.model_calls]
    if not paid:
        return []
    costs = [usage.cost_usd for usage in paid if usage.cost_usd is not None]
    rows = [
        _row("calls_per_verdict", float(np.mean([u.model_calls for u in paid])), len(paid), unit="calls"),
        _row("tokens_per_verdict", float(np.mean([u.total_tokens for u in paid])), len(paid), unit="tokens"),
    ]
    if costs:
        rows.append(_row("cost_per_verdict", float(np.mean(costs)), len(costs), unit="USD"))
    return rows


def _row(
    measure: str,
    value: float | None,
    n: int,
    *,
    unit: str = "%",
    ends: tuple[float | None, float | None] | None = None,
    note: str = "",
) -> Row:
    low, high = ends if ends is not None else (None, None)
    return {
        "measure": measure,
        "value": value,
        "unit": unit,
        "ci_low": low,
        "ci_high": high,
        "n": n,
        "note": note,
    }
