"""Shows all runs, or one run with its queries, trials and verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from stb_core.store import Run, Store
from stb_core.values import SOPR, Status, group_order
from stb_server.inspector import standings
from stb_server.inspector import verdicts as outcomes
from stb_server.inspector.context import Inspector
from stb_server.inspector.leaderboards import rank_rows
from stb_server.inspector.rendering import page, place, share_bar, url
from stb_server.inspector.run_digests import RunDigest, TrialDigest
from stb_server.inspector.run_rows import RunRow, describe_state, load_doubts, make_run_rows
from stb_server.inspector.standings import Whisker
from stb_server.inspector.verdicts import JudgeName

PAGE = 100
_STATIC_PAGE = 20_000


async def runs(request: Request) -> Response:
    """Show the table of runs, the latest first, filtered by dataset, agent or model."""
    inspector = request.app.state.inspector
    stored = sorted(await inspector.runs(), key=lambda run: run.created_at, reverse=True)
    filters = {name: request.query_params.get(name, "") for name in ("dataset", "agent", "model")}
    choices = {name: sorted({value for run in stored if (value := getattr(run, name))}) for name in filters}
    shown = [
        run
        for run in stored
        if all(not value or getattr(run, name) == value for name, value in filters.items())
    ]
    number = _read_page_number(request, len(shown))
    until = inspector.standings.soon()
    made = await make_run_rows(inspector, shown[(number - 1) * PAGE : number * PAGE], until)
    rows = await rank_rows(inspector, made, until)
    return page(
        request,
        "runs.html",
        rows=rows,
        total=len(stored),
        shown=len(shown),
        filters=filters,
        heading=inspector.title,
        boards=sorted({row.run.dataset for row in rows if row.verdicts}),
        choices=choices,
        number=number,
        has_more=number * PAGE < len(shown),
        more=url("/runs", **filters, page=number + 1),
    )


@dataclass(frozen=True)
class TrialRow:
    """A query and trial in a run's table; ``trial`` is None while it has no trajectory."""

    group: str
    query_id: str
    number: int
    trial: TrialDigest | None
    statuses: list[Status]
    outcome: str


async def run(request: Request) -> Response:
    """Show one run: its settings, the outcomes by group, and its trials."""
    inspector = request.app.state.inspector
    store = inspector.store
    stored = await store.runs.get(request.path_params["run"])
    (row,) = await make_run_rows(inspector, [stored])
    judges = list(row.verdicts)
    filters = {
        name: request.query_params.get(name, "").strip()
        for name in ("judge", "group", "outcome", "stop", "query")
    }
    judge = next((one for one in judges if one.address == filters["judge"]), judges[-1] if judges else None)
    trials = await _load_trials(store, stored, row.digest, judge)
    shown = [one for one in trials if _matches(one, filters)]
    size = _STATIC_PAGE if inspector.is_static else PAGE
    number = _read_page_number(request, len(shown), size)
    here = place("runs", stored.run)
    return page(
        request,
        "run.html",
        row=row,
        here=here,
        judges=judges,
        judge=judge,
        filters=filters,
        groups=_count_outcomes(trials),
        scores=await _load_scores(inspector, row, judge),
        doubts=await load_doubts(inspector, row, inspector.standings.soon()),
        outcomes=[name for name in outcomes.OUTCOMES if any(one.outcome == name for one in trials)],
        signs=outcomes.SIGNS,
        trials=shown[(number - 1) * size : number * size],
        total=len(trials),
        shown=len(shown),
        number=number,
        has_more=number * size < len(shown),
        previous=url(here, **filters, page=number - 1),
        more=url(here, **filters, page=number + 1),
    )


async def _load_scores(inspector: Inspector, row: RunRow, judge: JudgeName | None) -> list[Whisker]:
    """The scores of all groups, if they are ready."""
    if judge is None:
        return []
    rows = await inspector.standings.scores(
        inspector.store, row.run.run, describe_state(row), until=inspector.standings.soon()
    )
    return standings.draw_whiskers(standings.select_rows(rows or (), judge), "group")


def _read_page_number(request: Request, rows: int, size: int = PAGE) -> int:
    text = request.query_params.get("page", "1")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 1
    return max(1, min(number, -(-rows // size)))


async def _load_trials(store: Store, run: Run, digest: RunDigest, judge: JudgeName | None) -> list[TrialRow]:
    statuses: dict[tuple[str, str, int], list[Status]] = {}
    done = await store.runs.done(run.run)
    lost = {(one.group, one.query_id, one.trial) for one in done if one.is_unsolved}
    if judge:
        marks = await store.verdicts.marks(run.run, metric=SOPR, judge=judge.judge, rubric=judge.rubric)
        statuses = outcomes.group_statuses(marks, done)
    places = [
        (group, query_id, number)
        for group in sorted(run.expected, key=group_order)
        for query_id in run.expected[group]
        for number in range(run.trials)
    ]
    known = set(places)
    places += [one for one in digest.trials if one not in known]
    rows = []
    for where in places:
        trial = digest.trials.get(where)
        trial_statuses = statuses.get(where, [])
        word = outcomes.decide_outcome(trial_statuses) if trial else outcomes.MISSING
        if where in lost:
            word = Status.UNSOLVED.value
        rows.append(TrialRow(*where, trial, trial_statuses, word))
    return rows


def _matches(row: TrialRow, filters: dict[str, str]) -> bool:
    if filters["group"] and row.group != filters["group"]:
        return False
    if filters["outcome"] and row.outcome != filters["outcome"]:
        return False
    if filters["stop"] and (row.trial is None or row.trial.stop != filters["stop"]):
        return False
    if filters["query"]:
        words = f"{row.query_id} {row.trial.query if row.trial else ''}".lower()
        return filters["query"].lower() in words
    return True


def _count_outcomes(
    trials: Sequence[TrialRow],
) -> list[tuple[str, Counter[str], list[tuple[str, float, float]]]]:
    """Each group with its outcomes, and a bar of them."""
    outcomes_by_group: dict[str, Counter[str]] = {}
    for row in trials:
        outcomes_by_group.setdefault(row.group, Counter())[row.outcome] += 1
    rows = []
    for group in sorted(outcomes_by_group, key=group_order):
        ordered = Counter(
            {
                name: outcomes_by_group[group][name]
                for name in outcomes.OUTCOMES
                if outcomes_by_group[group][name]
            }
        )
        rows.append((group, ordered, share_bar(ordered)))
    return rows
