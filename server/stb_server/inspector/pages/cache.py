"""Datasets, and the responses of one: by category, tool and API, and by search."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stb_core.store import Dataset, Store
from stb_core.values import ApiDocument, ToolDocument
from stb_server.inspector.pages.response import ACTS
from stb_server.inspector.rendering import HEADERS, page, place, share_bar, url
from stb_server.inspector.response_counts import ResponseCounts
from stb_server.inspector.search import PAGE, ResponseSearch, keys_starting_with, search

_KEY = re.compile(r"[0-9a-f]{8,64}")
_MOST_CHILDREN = 200
_LAST_PAGE = 2_000


@dataclass(frozen=True)
class CacheBranch:
    """A category, a tool or an API with its counts."""

    name: str
    address: str
    counts: Counter[str]
    bar: list[tuple[str, float, float]]
    apis: int


async def datasets(request: Request) -> Response:
    """Show all datasets; redirects to the only one."""
    inspector = request.app.state.inspector
    found = await inspector.store.datasets.all()
    if len(found) == 1:
        return RedirectResponse(place("cache", found[0].name), 303, HEADERS)
    rows = []
    for dataset in found:
        tally, _ = await inspector.response_counts.get(inspector.store, dataset)
        rows.append(
            {
                "dataset": dataset,
                "counts": (counts := tally.total() if tally else {}),
                "bar": share_bar(counts),
            }
        )
    return page(request, "datasets.html", rows=rows)


async def responses(request: Request) -> Response:
    """Show the responses of a dataset that match the search in the address, and how to narrow it."""
    inspector = request.app.state.inspector
    store = inspector.store
    dataset = await store.datasets.get(request.path_params["dataset"])
    here = place("cache", dataset.name)
    wanted = ResponseSearch.read(request.query_params)
    if _KEY.fullmatch(wanted.arguments):
        keys = await keys_starting_with(store, dataset.id, wanted.arguments)
        if len(keys) == 1:
            return RedirectResponse(f"{here}/{keys[0]}", 303, HEADERS)
    tally, is_current = await inspector.response_counts.get(store, dataset)
    after = _whole_number(request.query_params.get("after", ""))
    found = await search(store, dataset.id, wanted, tally, after=after)
    counts = _counts(tally, wanted)
    last = found.hits[-1].id if found.hits else 0
    return page(
        request,
        "cache.html",
        dataset=dataset,
        here=here,
        wanted=wanted,
        narrows=bool(wanted.name or wanted.arguments or wanted.text or wanted.since or wanted.before),
        found=found,
        after=after,
        more=url(here, **wanted.query(), after=found.after or None),
        shown_last=last,
        tally=tally,
        is_current=is_current,
        counts=counts,
        bar=share_bar(counts),
        level=_level(wanted),
        children=_children(tally, wanted, here),
        most_children=_MOST_CHILDREN,
        document=await _document(inspector.store, dataset, wanted),
        notes=await store.curation.notes(dataset.id, [hit.key for hit in found.hits]),
        has_record=bool(await store.curation.latest(dataset.id, limit=1)),
    )


async def record(request: Request) -> Response:
    """Show the manual changes of a dataset's responses, the latest first."""
    store = request.app.state.inspector.store
    dataset = await store.datasets.get(request.path_params["dataset"])
    number = max(1, min(_whole_number(request.query_params.get("page", "")), _LAST_PAGE))
    found = await store.curation.latest(dataset.id, limit=PAGE + 1, offset=PAGE * (number - 1))
    return page(
        request,
        "record.html",
        dataset=dataset,
        here=place("cache", dataset.name),
        events=found[:PAGE],
        acts=ACTS,
        number=number,
        has_more=len(found) > PAGE,
    )


def _whole_number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def _level(wanted: ResponseSearch) -> str:
    if wanted.tool:
        return "" if wanted.api else "API"
    return "tool" if wanted.category else "category"


def _counts(tally: ResponseCounts | None, wanted: ResponseSearch) -> Counter[str]:
    """The number of responses by provenance, filtered by names only."""
    if tally is None:
        return Counter()
    total: Counter[str] = Counter()
    for api in tally.apis:
        given = zip(api.ref, (wanted.category, wanted.tool, wanted.api), strict=True)
        if all(not name or name == have for have, name in given) and wanted.fits_api(api):
            total.update(api.counts)
    return total


def _children(tally: ResponseCounts | None, wanted: ResponseSearch, here: str) -> list[CacheBranch]:
    level = _level(wanted)
    if tally is None or not level:
        return []
    chosen = ResponseCounts(
        tally.state, tally.counted_at, 0, 0, tuple(api for api in tally.apis if wanted.fits_api(api))
    )
    found = []
    for name, (counts, apis) in chosen.children(wanted.category, wanted.tool).items():
        shown = Counter({wanted.provenance: counts[wanted.provenance]}) if wanted.provenance else counts
        address = url(here, **wanted.query(**{level.lower(): name}))
        found.append(CacheBranch(name, address, shown, share_bar(shown), apis))
    return sorted(found, key=lambda child: (-child.counts.total(), child.name))


async def _document(
    store: Store, dataset: Dataset, wanted: ResponseSearch
) -> tuple[ToolDocument, ApiDocument | None] | None:
    """The documents of the selected tool and API."""
    if not (wanted.category and wanted.tool):
        return None
    tools = await store.datasets.tools(dataset.id, category=wanted.category, tool=wanted.tool)
    if not tools:
        return None
    apis = {api.standard_name: api for api in tools[0].api_list}
    return tools[0], apis.get(wanted.api)
