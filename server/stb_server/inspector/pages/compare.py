"""Compares runs: their scores with intervals, and the difference of every pair.

The figures are those of ``stb report``, drawn from the same rows as the tables below them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stb_core.errors import NotFoundError
from stb_core.plugins import Figure, ScoreRow
from stb_core.store import Run
from stb_server.inspector import standings, verdicts
from stb_server.inspector.context import Inspector
from stb_server.inspector.leaderboards import MOST_RUNS, RunComparison, compare_runs, find_places
from stb_server.inspector.rendering import HEADERS, page, url
from stb_server.inspector.run_rows import TOTAL, RunRow, describe_state, load_doubts, make_run_rows
from stb_server.inspector.verdicts import JudgeName

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


async def compare(request: Request) -> Response:
    """Show the runs named by ``run`` in the address, or those on a ``dataset``."""
    inspector = request.app.state.inspector
    selection = await _select(inspector, request)
    if not selection.runs:
        return RedirectResponse("/runs", 303, HEADERS)
    until = inspector.standings.soon()
    comparison = await _compare(inspector, selection, until)
    reach = standings.choose_reach(comparison.totals)
    places = find_places(comparison.totals)
    ranked = sorted(comparison.scores, key=lambda row: _order_by_place(places.get(row["run"]), row))
    return page(
        request,
        "compare.html",
        selection=selection,
        comparison=comparison,
        doubts=await _load_doubts(inspector, comparison, until) if selection.judge else [],
        run_names={run.run: run.name for run in selection.runs},
        figures=[
            (one, _figure_addresses(one.name, selection))
            for one in await _draw_figures(inspector, selection, comparison, dark=False)
        ],
        scores=standings.draw_whiskers([row for row in ranked if row["group"] == TOTAL], "run"),
        differences=standings.draw_whiskers(comparison.totals, "run", reach=reach),
        places=places,
        reach=reach,
        differing_settings=_list_differing_settings(comparison.rows),
    )


def _order_by_place(place: ScoreRow | None, row: ScoreRow) -> tuple[bool, float, float, float]:
    """Runs with a place first, the best before the others; then those without one."""
    if place is None or place["unranked"]:
        return place is not None, 0, 0, -(row["value"] or 0)
    return False, place["rank"], place["rank_low"], -(row["value"] or 0)


async def figure(request: Request) -> Response:
    """Show one figure, for a light or a ``dark`` page."""
    inspector = request.app.state.inspector
    selection = await _select(inspector, request)
    name = request.path_params["figure"]
    if selection.runs:
        comparison = await _compare(inspector, selection, time.monotonic() + _PATIENCE_S)
        for one in await _draw_figures(inspector, selection, comparison, dark="dark" in request.query_params):
            if one.name == name:
                headers = {**HEADERS, "Content-Security-Policy": _POLICY}
                return Response(one.svg, media_type="image/svg+xml", headers=headers)
    raise NotFoundError(f"There is no figure {name[:80]!r} of these runs.")


async def _select(inspector: Inspector, request: Request) -> RunSelection:
    store = inspector.store
    names = list(dict.fromkeys(request.query_params.getlist("run")))
    address = request.query_params.get("judge", "")
    if names:
        runs = [await store.runs.get(name) for name in names]
        judges_by_run = await verdicts.count_verdicts(store, [run.run for run in runs])
        judges = verdicts.common_judges(judges_by_run)
        dataset = ""
    else:
        dataset = request.query_params.get("dataset", "")
        runs = [run for run in await inspector.runs() if run.dataset == dataset]
        judges_by_run = await verdicts.count_verdicts(store, [run.run for run in runs])
        judges = verdicts.list_judges(judges_by_run)
    judge = next((one for one in judges if one.address == address), judges[-1] if judges else None)
    if dataset:
        runs = [run for run in runs if verdicts.goes_with(judges_by_run[run.run], judge)]
    return RunSelection(runs[-MOST_RUNS:], judges, judge, dataset, max(0, len(runs) - MOST_RUNS))


async def _compare(inspector: Inspector, selection: RunSelection, until: float) -> RunComparison:
    if selection.judge is None:
        return RunComparison(await make_run_rows(inspector, selection.runs, until), [], [])
    return await compare_runs(
        inspector, selection.runs, selection.judge, until, best_first=bool(selection.dataset)
    )


async def _load_doubts(inspector: Inspector, comparison: RunComparison, until: float) -> list[str] | None:
    """What to know of the runs before believing their scores; None while it is computed."""
    found = [await load_doubts(inspector, row, until) for row in comparison.rows]
    return None if None in found else [line for lines in found for line in lines or ()]


async def _draw_figures(
    inspector: Inspector, selection: RunSelection, comparison: RunComparison, *, dark: bool
) -> list[Figure]:
    if not comparison.scores or not comparison.is_computed:
        return []
    state = (
        selection.judge.address if selection.judge else "",
        *(f"{r.run.run} {describe_state(r)}" for r in comparison.rows),
    )
    drawn: list[Figure] = await inspector.standings.figures(
        comparison.scores, comparison.differences or (), state, dark=dark
    )
    return drawn


def _figure_addresses(name: str, selection: RunSelection) -> tuple[str, str]:
    """The addresses of a figure for a light page and for a dark one."""
    runs = [] if selection.dataset else [run.run for run in selection.runs]
    judge = selection.judge.address if selection.judge else ""
    light, dark = (
        url(f"/compare/{name}.svg", dataset=selection.dataset, run=runs or None, judge=judge, dark=dark)
        for dark in ("", "1")
    )
    return light, dark


def _list_differing_settings(rows: list[RunRow]) -> list[str]:
    """The settings in which these runs differ, so that their scores are hard to compare."""
    differing = []
    for words, values in (
        ("dataset", {row.run.manifest.dataset_hash or row.run.dataset for row in rows}),
        ("set of recorded responses", {row.run.manifest.snapshot_hash for row in rows}),
        ("mode", {row.run.manifest.mode for row in rows}),
    ):
        if len(values) > 1:
            differing.append(words)
    return differing
