"""Shows all runs, or one run with its queries, trials and verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import Response

from stb_core.store import Run, Store
from stb_core.values import SOPR, Status, group_order
from stb_server.inspector import standings
from stb_server.inspector import verdicts as outcomes
from stb_server.inspector.context import Inspector
from stb_server.inspector.rendering import page, place, share_bar, url
from stb_server.inspector.run_digests import RunDigest, TrialDigest
from stb_server.inspector.standings import Whisker
from stb_server.inspector.verdicts import JudgeName

PAGE = 100
_STATIC_PAGE = 20_000
_TOTAL = "macro"


@dataclass(frozen=True)
class Cost:
    """What one payer consumed; ``usd`` is None if no price is known."""

    payer: str
    tokens: int
    usd: float | None


@dataclass(frozen=True)
class RunRow:
    """A run in a table."""

    run: Run
    digest: RunDigest
    good: int
    """Trials that are done and did not fail by infrastructure."""
    verdicts: dict[JudgeName, Counter[str]]
    scores: dict[JudgeName, Whisker]
    """The mean score of all groups, by judge."""
    is_scored: bool
    """Whether the scores are ready, rather than still being computed."""

    @property
    def is_complete(self) -> bool:
        """Whether all expected trials are done."""
        return self.good >= self.run.n_expected

    @property
    def costs(self) -> list[Cost]:
        """Tokens and cost by payer; payers without either are left out."""
        costs = [Cost("agent", self.digest.usage.total_tokens, self.digest.usage.cost_usd)]
        if self.digest.simulator:
            usage = self.digest.simulator
            costs.append(Cost("simulator", usage.total_tokens, usage.cost_usd))
        for judge, score in self.scores.items():
            tokens, money = score.row.get("judge_tokens") or 0, score.row.get("judge_cost_usd")
            costs.append(Cost(f"judge {judge.name}", tokens, money))
        return [one for one in costs if one.tokens or one.usd is not None]

    @property
    def bar(self) -> list[tuple[str, float, float]]:
        """A bar of its tool answers by provenance."""
        return share_bar(self.digest.provenances)


async def make_run_rows(inspector: Inspector, runs: Sequence[Run]) -> list[RunRow]:
    """Runs with their totals."""
    counts = await outcomes.count_verdicts(inspector.store, [run.run for run in runs])
    rows = []
    until = inspector.standings.soon()
    for run in runs:
        digest = await inspector.digests.get(inspector.store, run.run)
        row = RunRow(run, digest, count_good_trials(run, digest), counts[run.run], {}, is_scored=True)
        if row.verdicts:
            score_rows = await inspector.standings.scores(
                inspector.store, run.run, describe_state(row), until=until
            )
            totals = [one for one in score_rows or () if one["group"] == _TOTAL]
            scores = {
                JudgeName(one.row["judge"], one.row["rubric"]): one
                for one in standings.draw_whiskers(totals, "run")
            }
            row = replace(row, scores=scores, is_scored=score_rows is not None)
        rows.append(row)
    return rows


def describe_state(row: RunRow) -> str:
    """A text that changes whenever a score of the run may have changed."""
    verdicts = sum(counts.total() for counts in row.verdicts.values())
    return f"{row.run.created_at} {row.digest.attempts} {verdicts} {row.run.n_expected}"


def count_good_trials(run: Run, digest: RunDigest) -> int:
    """The number of expected trials that are done and did not fail by infrastructure."""
    return run.count_done({place: trial.stop for place, trial in digest.trials.items()})


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
    rows = await make_run_rows(inspector, shown[(number - 1) * PAGE : number * PAGE])
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


async def load_doubts(inspector: Inspector, row: RunRow, until: float) -> list[str] | None:
    """What to know before believing a score of the run; None if it is not ready at ``until``."""
    return await inspector.standings.headlines(inspector.store, row.run.run, describe_state(row), until=until)


def _read_page_number(request: Request, rows: int, size: int = PAGE) -> int:
    text = request.query_params.get("page", "1")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 1
    return max(1, min(number, -(-rows // size)))


async def _load_trials(store: Store, run: Run, digest: RunDigest, judge: JudgeName | None) -> list[TrialRow]:
    statuses: dict[tuple[str, str, int], list[Status]] = {}
    if judge:
        marks = await store.verdicts.marks(run.run, metric=SOPR, judge=judge.judge, rubric=judge.rubric)
        statuses = outcomes.group_statuses(marks, await store.runs.done(run.run))
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
