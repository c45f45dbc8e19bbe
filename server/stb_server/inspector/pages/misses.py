"""Shows calls that could not be answered, each with the closest recorded call."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stb_core.store import Miss
from stb_server.inspector.diffs import ArgumentChange, argument_changes, arguments_of
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
    found = await store.misses.most_frequent(dataset.id, limit=PAGE + 1, offset=PAGE * (number - 1))
    return page(
        request,
        "misses.html",
        dataset=dataset,
        rows=[(miss, _changes(miss)) for miss in found[:PAGE]],
        first=PAGE * (number - 1) + 1,
        number=number,
        has_more=len(found) > PAGE,
        total=(await store.datasets.counts(dataset.id))["misses"],
    )


def _changes(miss: Miss) -> list[ArgumentChange]:
    """The differences between the call and the closest recorded one."""
    if miss.nearest_arguments is None:
        return [ArgumentChange(name, "same", text, text) for name, text in _texts(miss)]
    return argument_changes(arguments_of(miss.arguments), arguments_of(miss.nearest_arguments))


def _texts(miss: Miss) -> list[tuple[str, str]]:
    arguments = arguments_of(miss.arguments)
    return [(change.name, change.after) for change in argument_changes(arguments, arguments)]
