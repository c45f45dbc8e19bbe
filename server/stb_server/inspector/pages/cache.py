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
from stb_server.inspector.search import PAGE, ResponseSearch, find_keys, search

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
    stored = await inspector.store.datasets.all()
    if len(stored) == 1:
        return RedirectResponse(place("cache", stored[0].name), 303, HEADERS)
    rows = []
    for dataset in stored:
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
    terms = ResponseSearch.read(request.query_params)
    if _KEY.fullmatch(terms.arguments):
        keys = await find_keys(store, dataset.id, terms.arguments)
        if len(keys) == 1:
            return RedirectResponse(f"{here}/{keys[0]}", 303, HEADERS)
    tally, is_current = await inspector.response_counts.get(store, dataset)
    after = _read_number(request.query_params.get("after", ""))
    results = await search(store, dataset.id, terms, tally, after=after)
    counts = _count_responses(tally, terms)
    last = results.hits[-1].id if results.hits else 0
    return page(
        request,
        "cache.html",
        dataset=dataset,
        here=here,
        terms=terms,
        narrows=bool(terms.name or terms.arguments or terms.text or terms.since or terms.before),
        results=results,
        after=after,
        more=url(here, **terms.query(), after=results.after or None),
        shown_last=last,
        tally=tally,
        is_current=is_current,
        counts=counts,
        bar=share_bar(counts),
        level=_find_level(terms),
        children=_list_branches(tally, terms, here),
        most_children=_MOST_CHILDREN,
        document=await _load_documents(inspector.store, dataset, terms),
        notes=await store.curation.notes(dataset.id, [hit.key for hit in results.hits]),
        has_record=bool(await store.curation.latest(dataset.id, limit=1)),
    )


async def record(request: Request) -> Response:
    """Show the manual changes of a dataset's responses, the latest first."""
    store = request.app.state.inspector.store
    dataset = await store.datasets.get(request.path_params["dataset"])
    number = max(1, min(_read_number(request.query_params.get("page", "")), _LAST_PAGE))
    events = await store.curation.latest(dataset.id, limit=PAGE + 1, offset=PAGE * (number - 1))
    return page(
        request,
        "record.html",
        dataset=dataset,
        here=place("cache", dataset.name),
        events=events[:PAGE],
        acts=ACTS,
        number=number,
        has_more=len(events) > PAGE,
    )


def _read_number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def _find_level(terms: ResponseSearch) -> str:
    if terms.tool:
        return "" if terms.api else "API"
    return "tool" if terms.category else "category"


def _count_responses(tally: ResponseCounts | None, terms: ResponseSearch) -> Counter[str]:
    """The number of responses by provenance, filtered by names only."""
    if tally is None:
        return Counter()
    total: Counter[str] = Counter()
    for api in tally.apis:
        pairs = zip(api.ref, (terms.category, terms.tool, terms.api), strict=True)
        if all(not name or name == name_of_api for name_of_api, name in pairs) and terms.fits_api(api):
            total.update(api.counts)
    return total


def _list_branches(tally: ResponseCounts | None, terms: ResponseSearch, here: str) -> list[CacheBranch]:
    level = _find_level(terms)
    if tally is None or not level:
        return []
    matching = ResponseCounts(
        tally.state, tally.counted_at, 0, 0, tuple(api for api in tally.apis if terms.fits_api(api))
    )
    branches = []
    for name, (counts, apis) in matching.children(terms.category, terms.tool).items():
        counts_shown = Counter({terms.provenance: counts[terms.provenance]}) if terms.provenance else counts
        address = url(here, **terms.query(**{level.lower(): name}))
        branches.append(CacheBranch(name, address, counts_shown, share_bar(counts_shown), apis))
    return sorted(branches, key=lambda child: (-child.counts.total(), child.name))


async def _load_documents(
    store: Store, dataset: Dataset, terms: ResponseSearch
) -> tuple[ToolDocument, ApiDocument | None] | None:
    """The documents of the selected tool and API."""
    if not (terms.category and terms.tool):
        return None
    tools = await store.datasets.tools(dataset.id, category=terms.category, tool=terms.tool)
    if not tools:
        return None
    apis = {api.standard_name: api for api in tools[0].api_list}
    return tools[0], apis.get(terms.api)
