"""The first page: the contents of the store, and recent activity."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from stb_server.inspector.leaderboards import rank_rows
from stb_server.inspector.rendering import page, share_bar
from stb_server.inspector.run_rows import make_run_rows

_RUNS = 6
_MISSES = 5


async def overview(request: Request) -> Response:
    """Show datasets, the latest runs, and the most frequent misses."""
    inspector = request.app.state.inspector
    store = inspector.store
    datasets = await store.datasets.all()
    cards = []
    misses = []
    for dataset in datasets:
        tally, is_current = await inspector.response_counts.get(store, dataset)
        counts = tally.total() if tally else {}
        cards.append(
            {
                "dataset": dataset,
                "numbers": await store.datasets.counts(dataset.id),
                "counts": counts,
                "bar": share_bar(counts),
                "is_current": is_current,
            }
        )
        most_frequent = await store.misses.most_frequent(dataset.id, limit=_MISSES)
        misses += [(dataset.name, miss) for miss in most_frequent]
    misses.sort(key=lambda pair: (-pair[1].count, pair[1].key))
    latest = sorted(await inspector.runs(), key=lambda run: run.created_at, reverse=True)[:_RUNS]
    until = inspector.standings.soon()
    return page(
        request,
        "overview.html",
        cards=cards,
        misses=misses[:_MISSES],
        rows=await rank_rows(inspector, await make_run_rows(inspector, latest, until), until),
        worker=inspector.worker,
    )
