"""Runs beside one another: their scores with intervals, and what is known of every difference."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stb_core.errors import StbError
from stb_core.scoring import Row
from stb_server.inspector import standings
from stb_server.inspector.rendering import HEADERS, page
from stb_server.inspector.run_pages import RunRow, run_rows, state_of

_MOST_RUNS = 12
_TOTAL = "macro"


async def compare(request: Request) -> Response:
    """The page of the runs that the address names by ``run``."""
    inspector = request.app.state.inspector
    store = inspector.store
    names = list(dict.fromkeys(request.query_params.getlist("run")))[:_MOST_RUNS]
    if not names:
        return RedirectResponse("/runs", 303, HEADERS)
    rows: list[RunRow] = await run_rows(inspector, [await store.runs.get(name) for name in names])
    shared = [judge for judge in rows[0].verdicts if all(judge in row.verdicts for row in rows)]
    wanted = request.query_params.get("judge", "")
    judge = next((one for one in shared if one.address == wanted), shared[-1] if shared else None)
    scores: list[Row] = []
    differences: list[Row] | None = []
    problem = ""
    if judge:
        until = standings.soon()
        for row in rows:
            found = await inspector.standings.scores(store, row.run.run, state_of(row), until=until)
            scores += [one for one in standings.by(found or (), judge) if one["group"] == _TOTAL]
        if len(rows) > 1:
            state = " ".join(state_of(row) for row in rows)
            ids = [row.run.run for row in rows]
            try:
                differences = await inspector.standings.differences(store, ids, state, until=until)
            except StbError as trouble:
                problem = str(trouble)
    is_computed = differences is not None and all(row.is_scored for row in rows)
    differences = standings.by(differences or (), judge) if judge else []
    totals = [row for row in differences if row["group"] == _TOTAL]
    reach = standings.reach_of(totals)
    return page(
        request,
        "compare.html",
        rows=rows,
        names=names,
        run_names={row.run.run: row.run.name for row in rows},
        judges=shared,
        judge=judge,
        scores=standings.whiskers(sorted(scores, key=lambda row: -(row["value"] or 0)), "run"),
        differences=standings.whiskers(totals, "run", reach=reach),
        reach=reach,
        problem=problem,
        is_computed=is_computed,
        unlike=_unlike(rows),
    )


def _unlike(rows: list[RunRow]) -> list[str]:
    """In what these runs differ that makes their scores hard to compare."""
    found = []
    for words, values in (
        ("dataset", {row.run.manifest.dataset_hash or row.run.dataset for row in rows}),
        ("set of recorded responses", {row.run.manifest.snapshot_hash for row in rows}),
        ("mode", {row.run.manifest.mode for row in rows}),
    ):
        if len(values) > 1:
            found.append(words)
    return found
