"""Shows calls that could not be answered, each with the closest recorded call."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stb_core.store import Miss
from stb_server.inspector.diffs import ArgumentChange, compare_arguments, read_arguments
from stb_server.inspector.rendering import HEADERS, page, place

PAGE = 50
_LAST_PAGE = 200


async def misses(request: Request) -> Response:
    """The misses of one dataset, the most frequent first."""
    store = request.app.state.inspector.store
    datasets = await store.datasets.all()
    name = request.path_params.get("dataset")
    if name is None and len(datasets) == 1:
        return RedirectResponse(place("misses", datasets[0].name), 303, HEADERS)
    if name is None:
        numbers = [(dataset, (await store.datasets.counts(dataset.id))["misses"]) for dataset in datasets]
        return page(request, "miss_datasets.html", rows=numbers)
    dataset = await store.datasets.get(name)
    text = request.query_params.get("page", "1")
    number = min(int(text), _LAST_PAGE) if text.isascii() and text.isdigit() and text.strip("0") else 1
    rows = await store.misses.most_frequent(dataset.id, limit=PAGE + 1, offset=PAGE * (number - 1))
    return page(
        request,
        "misses.html",
        dataset=dataset,
        rows=[(miss, _compare_with_nearest(miss)) for miss in rows[:PAGE]],
        first=PAGE * (number - 1) + 1,
        number=number,
        has_more=len(rows) > PAGE,
        total=(await store.datasets.counts(dataset.id))["misses"],
    )


def _compare_with_nearest(miss: Miss) -> list[ArgumentChange]:
    """The differences between the call and the closest recorded one."""
    if miss.nearest_arguments is None:
        return [ArgumentChange(name, "same", text, text) for name, text in _list_arguments(miss)]
    return compare_arguments(read_arguments(miss.arguments), read_arguments(miss.nearest_arguments))


def _list_arguments(miss: Miss) -> list[tuple[str, str]]:
    arguments = read_arguments(miss.arguments)
    return [(change.name, change.after) for change in compare_arguments(arguments, arguments)]
