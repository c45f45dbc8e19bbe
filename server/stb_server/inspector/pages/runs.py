"""Shows all runs, or one run with its queries, trials and verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import Response

from stb_core.store import Run, Store
from stb_core.values import SOPR, Status, StopReason, group_order
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
        found = [Cost("agent", self.digest.usage.total_tokens, self.digest.usage.cost_usd)]
        if self.digest.simulator:
            usage = self.digest.simulator
            found.append(Cost("simulator", usage.total_tokens, usage.cost_usd))
        for judge, score in self.scores.items():
            tokens, money = score.row.get("judge_tokens") or 0, score.row.get("judge_cost_usd")
            found.append(Cost(f"judge {judge.name}", tokens, money))
        return [one for one in found if one.tokens or one.usd is not None]

    @property
    def bar(self) -> list[tuple[str, float, float]]:
        """A bar of its tool answers by provenance."""
        return share_bar(self.digest.provenances)


async def run_rows(inspector: Inspector, runs: Sequence[Run]) -> list[RunRow]:
    """Runs with their totals."""
    counts = await outcomes.verdict_counts(inspector.store, [run.run for run in runs])
    rows = []
    until = inspector.standings.soon()
    for run in runs:
        digest = await inspector.digests.get(inspector.store, run.run)
        row = RunRow(run, digest, good_trials(run, digest), counts[run.run], {}, is_scored=True)
        if row.verdicts:
            found = await inspector.standings.scores(inspector.store, run.run, state_of(row), until=until)
            totals = [one for one in found or () if one["group"] == _TOTAL]
            scores = {
                JudgeName(one.row["judge"], one.row["rubric"]): one
                for one in standings.whiskers(totals, "run")
            }
            row = replace(row, scores=scores, is_scored=found is not None)
        rows.append(row)
    return rows


def state_of(row: RunRow) -> str:
    """A text that changes whenever a score of the run may have changed."""
    verdicts = sum(counts.total() for counts in row.verdicts.values())
    return f"{row.run.created_at} {row.digest.attempts} {verdicts} {row.run.n_expected}"


def good_trials(run: Run, digest: RunDigest) -> int:
    """The number of expected trials that are done and did not fail by infrastructure."""
    return sum(
        (trial := digest.trials.get((group, query_id, number))) is not None
        and trial.stop != StopReason.INFRASTRUCTURE
        for group, ids in run.expected.items()
        for query_id in ids
        for number in range(run.trials)
    )


async def runs(request: Request) -> Response:
    """Show the table of runs, the latest first, filtered by dataset, agent or model."""
    inspector = request.app.state.inspector
    found = sorted(await inspector.runs(), key=lambda run: run.created_at, reverse=True)
    wanted = {name: request.query_params.get(name, "") for name in ("dataset", "agent", "model")}
    choices = {name: sorted({value for run in found if (value := getattr(run, name))}) for name in wanted}
    shown = [
        run
        for run in found
        if all(not value or getattr(run, name) == value for name, value in wanted.items())
    ]
    number = _page_number(request, len(shown))
    rows = await run_rows(inspector, shown[(number - 1) * PAGE : number * PAGE])
    return page(
        request,
        "runs.html",
        rows=rows,
        total=len(found),
        shown=len(shown),
        wanted=wanted,
        heading=inspector.title,
        boards=sorted({row.run.dataset for row in rows if row.verdicts}),
        choices=choices,
        number=number,
        has_more=number * PAGE < len(shown),
        more=url("/runs", **wanted, page=number + 1),
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
    found = await store.runs.get(request.path_params["run"])
    (row,) = await run_rows(inspector, [found])
    judges = list(row.verdicts)
    wanted = {
        name: request.query_params.get(name, "").strip()
        for name in ("judge", "group", "outcome", "stop", "query")
    }
    judge = next((one for one in judges if one.address == wanted["judge"]), judges[-1] if judges else None)
    trials = await _trials(store, found, row.digest, judge)
    shown = [one for one in trials if _fits(one, wanted)]
    size = _STATIC_PAGE if inspector.is_static else PAGE
    number = _page_number(request, len(shown), size)
    here = place("runs", found.run)
    return page(
        request,
        "run.html",
        row=row,
        here=here,
        judges=judges,
        judge=judge,
        wanted=wanted,
        groups=_groups(trials),
        scores=await _scores(inspector, row, judge),
        outcomes=[name for name in outcomes.OUTCOMES if any(one.outcome == name for one in trials)],
        signs=outcomes.SIGNS,
        trials=shown[(number - 1) * size : number * size],
        total=len(trials),
        shown=len(shown),
        number=number,
        has_more=number * size < len(shown),
        previous=url(here, **wanted, page=number - 1),
        more=url(here, **wanted, page=number + 1),
    )


async def _scores(inspector: Inspector, row: RunRow, judge: JudgeName | None) -> list[Whisker]:
    """The scores of all groups, if they are ready."""
    if judge is None:
        return []
    found = await inspector.standings.scores(
        inspector.store, row.run.run, state_of(row), until=inspector.standings.soon()
    )
    return standings.whiskers(standings.rows_by(found or (), judge), "group")


def _page_number(request: Request, rows: int, size: int = PAGE) -> int:
    text = request.query_params.get("page", "1")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 1
    return max(1, min(number, -(-rows // size)))


async def _trials(store: Store, found: Run, digest: RunDigest, judge: JudgeName | None) -> list[TrialRow]:
    statuses: dict[tuple[str, str, int], list[Status]] = {}
    if judge:
        marks = await store.verdicts.marks(found.run, metric=SOPR, judge=judge.judge, rubric=judge.rubric)
        statuses = outcomes.statuses_by_trial(marks, await store.runs.done(found.run))
    places = [
        (group, query_id, number)
        for group in sorted(found.expected, key=group_order)
        for query_id in found.expected[group]
        for number in range(found.trials)
    ]
    known = set(places)
    places += [one for one in digest.trials if one not in known]
    rows = []
    for where in places:
        trial = digest.trials.get(where)
        given = statuses.get(where, [])
        word = outcomes.outcome_of(given) if trial else outcomes.MISSING
        rows.append(TrialRow(*where, trial, given, word))
    return rows


def _fits(row: TrialRow, wanted: dict[str, str]) -> bool:
    if wanted["group"] and row.group != wanted["group"]:
        return False
    if wanted["outcome"] and row.outcome != wanted["outcome"]:
        return False
    if wanted["stop"] and (row.trial is None or row.trial.stop != wanted["stop"]):
        return False
    if wanted["query"]:
        words = f"{row.query_id} {row.trial.query if row.trial else ''}".lower()
        return wanted["query"].lower() in words
    return True


def _groups(trials: Sequence[TrialRow]) -> list[tuple[str, Counter[str], list[tuple[str, float, float]]]]:
    """Each group with its outcomes, and a bar of them."""
    found: dict[str, Counter[str]] = {}
    for row in trials:
        found.setdefault(row.group, Counter())[row.outcome] += 1
    rows = []
    for group in sorted(found, key=group_order):
        ordered = Counter({name: found[group][name] for name in outcomes.OUTCOMES if found[group][name]})
        rows.append((group, ordered, share_bar(ordered)))
    return rows
