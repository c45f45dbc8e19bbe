"""Compares runs: their scores with intervals, and the difference of every pair.

The figures are those of ``stb report``, drawn from the same rows as the tables below them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stb_core.errors import NotFoundError, StbError
from stb_core.plugins import Figure, ScoreRow
from stb_core.store import Run
from stb_server.inspector import standings, verdicts
from stb_server.inspector.context import Inspector
from stb_server.inspector.pages.runs import RunRow, run_rows, state_of
from stb_server.inspector.rendering import HEADERS, page, url
from stb_server.inspector.verdicts import JudgeName

MOST_RUNS = 12
_TOTAL = "macro"
_PATIENCE_S = 120
# An image may contain its own styles, and nothing else.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class RunSelection:
    """The runs to compare: some runs, or the latest of a ``dataset`` that the judge has judged."""

    runs: list[Run]
    judges: list[JudgeName]
    judge: JudgeName | None
    dataset: str
    left_out: int


@dataclass(frozen=True)
class RunComparison:
    """The comparison of runs by one judge; ``differences`` is None while they are computed."""

    rows: list[RunRow]
    scores: list[ScoreRow]
    differences: list[ScoreRow] | None
    problem: str = ""

    @property
    def is_computed(self) -> bool:
        """Whether all scores and differences are ready."""
        return self.differences is not None and all(row.is_scored for row in self.rows)


async def compare(request: Request) -> Response:
    """Show the runs named by ``run`` in the address, or those on a ``dataset``."""
    inspector = request.app.state.inspector
    chosen = await _chosen(inspector, request)
    if not chosen.runs:
        return RedirectResponse("/runs", 303, HEADERS)
    found = await _compared(inspector, chosen, inspector.standings.soon())
    totals = [row for row in found.differences or () if row["group"] == _TOTAL]
    reach = standings.reach_of(totals)
    ranked = sorted(found.scores, key=lambda row: -(row["value"] or 0))
    return page(
        request,
        "compare.html",
        chosen=chosen,
        compared=found,
        run_names={run.run: run.name for run in chosen.runs},
        figures=[
            (one, _sources(one.name, chosen)) for one in await _figures(inspector, chosen, found, dark=False)
        ],
        scores=standings.whiskers([row for row in ranked if row["group"] == _TOTAL], "run"),
        differences=standings.whiskers(totals, "run", reach=reach),
        reach=reach,
        unlike=_unlike(found.rows),
    )


async def figure(request: Request) -> Response:
    """Show one figure, for a light or a ``dark`` page."""
    inspector = request.app.state.inspector
    chosen = await _chosen(inspector, request)
    name = request.path_params["figure"]
    if chosen.runs:
        found = await _compared(inspector, chosen, time.monotonic() + _PATIENCE_S)
        for one in await _figures(inspector, chosen, found, dark="dark" in request.query_params):
            if one.name == name:
                headers = {**HEADERS, "Content-Security-Policy": _POLICY}
                return Response(one.svg, media_type="image/svg+xml", headers=headers)
    raise NotFoundError(f"There is no figure {name[:80]!r} of these runs.")


def judges_of(looked: Mapping[str, Iterable[JudgeName]]) -> list[JudgeName]:
    """All judges of some runs; the last one has judged most of them."""
    busiest = Counter(judge for found in looked.values() for judge in found)
    return [judge for judge, _ in reversed(busiest.most_common())]


async def _chosen(inspector: Inspector, request: Request) -> RunSelection:
    store = inspector.store
    names = list(dict.fromkeys(request.query_params.getlist("run")))
    wanted = request.query_params.get("judge", "")
    if names:
        runs = [await store.runs.get(name) for name in names]
        looked = await verdicts.verdict_counts(store, [run.run for run in runs])
        judges = [one for one in looked[runs[0].run] if all(one in found for found in looked.values())]
        dataset = ""
    else:
        dataset = request.query_params.get("dataset", "")
        runs = [run for run in await inspector.runs() if run.dataset == dataset]
        looked = await verdicts.verdict_counts(store, [run.run for run in runs])
        judges = judges_of(looked)
    judge = next((one for one in judges if one.address == wanted), judges[-1] if judges else None)
    if dataset:
        runs = [run for run in runs if judge in looked[run.run]]
    return RunSelection(runs[-MOST_RUNS:], judges, judge, dataset, max(0, len(runs) - MOST_RUNS))


async def _compared(inspector: Inspector, chosen: RunSelection, until: float) -> RunComparison:
    store, judge = inspector.store, chosen.judge
    rows: list[RunRow] = await run_rows(inspector, chosen.runs)
    if judge is None:
        return RunComparison(rows, [], [])
    scores: list[ScoreRow] = []
    for row in rows:
        found = await inspector.standings.scores(store, row.run.run, state_of(row), until=until)
        scores += standings.rows_by(found or (), judge)
    if len(rows) == 1:
        return RunComparison(rows, scores, [])
    if chosen.dataset:
        totals = {row["run"]: row["value"] or 0 for row in scores if row["group"] == _TOTAL}
        rows.sort(key=lambda row: -totals.get(row.run.run, 0))
        scores.sort(key=lambda row: -totals.get(row["run"], 0))
    state = " ".join(state_of(row) for row in rows)
    try:
        differences = await inspector.standings.differences(
            store, [row.run.run for row in rows], state, until=until
        )
    except StbError as trouble:
        return RunComparison(rows, scores, [], str(trouble))
    return RunComparison(rows, scores, None if differences is None else standings.rows_by(differences, judge))


async def _figures(
    inspector: Inspector, chosen: RunSelection, found: RunComparison, *, dark: bool
) -> list[Figure]:
    if not found.scores or not found.is_computed:
        return []
    state = (
        chosen.judge.address if chosen.judge else "",
        *(f"{r.run.run} {state_of(r)}" for r in found.rows),
    )
    drawn: list[Figure] = await inspector.standings.figures(
        found.scores, found.differences or (), state, dark=dark
    )
    return drawn


def _sources(name: str, chosen: RunSelection) -> tuple[str, str]:
    """The addresses of a figure for a light page and for a dark one."""
    runs = [] if chosen.dataset else [run.run for run in chosen.runs]
    judge = chosen.judge.address if chosen.judge else ""
    light, dark = (
        url(f"/compare/{name}.svg", dataset=chosen.dataset, run=runs or None, judge=judge, dark=dark)
        for dark in ("", "1")
    )
    return light, dark


def _unlike(rows: list[RunRow]) -> list[str]:
    """The settings in which these runs differ, so that their scores are hard to compare."""
    found = []
    for words, values in (
        ("dataset", {row.run.manifest.dataset_hash or row.run.dataset for row in rows}),
        ("set of recorded responses", {row.run.manifest.snapshot_hash for row in rows}),
        ("mode", {row.run.manifest.mode for row in rows}),
    ):
        if len(values) > 1:
            found.append(words)
    return found
