"""``/v1``: datasets, tools, queries and misses of the server, as JSON."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from stb_core.errors import NotFoundError
from stb_core.store import Dataset, Store
from stb_core.values import ToolDocument
from stb_server.inspector import TextParameter, TextPathParameter
from stb_server.worker import Worker

router = APIRouter(prefix="/v1", responses={404: {"description": "No such dataset or tool."}})


def _worker(request: Request) -> Worker:
    worker: Worker = request.app.state.worker
    return worker


def _store(request: Request) -> Store:
    return _worker(request).resources.store


def _row(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "version": dataset.version,
        "content_hash": dataset.content_hash,
        "responses_hash": dataset.responses_hash,
        "responses": dataset.responses_count,
    }


@router.get("/datasets")
async def datasets(request: Request) -> dict[str, Any]:
    """List all datasets with their hashes; ``default`` is the dataset of requests that do not name one."""
    found = await _store(request).datasets.all()
    return {"default": _worker(request).options.dataset, "rows": [_row(dataset) for dataset in found]}


@router.get("/datasets/{name}")
async def dataset(request: Request, name: str) -> dict[str, Any]:
    """Get one dataset with its hashes and counts."""
    store = _store(request)
    found = await store.datasets.get(name)
    return {**_row(found), **await store.datasets.counts(found.id)}


@router.post("/datasets/{name}/snapshots", status_code=201)
async def take_snapshot(request: Request, name: str) -> dict[str, Any]:
    """Freeze the responses in force; calls with ``X-STB-Snapshot: <hash>`` see only these.

    Without a change in between, a second request returns the same snapshot.
    """
    store = _store(request)
    found = await store.datasets.get(name)
    snapshot = await store.snapshots.take(found.id)
    return {"dataset": name, "snapshot": snapshot.hash, "responses": snapshot.responses_count}


@router.get("/datasets/{name}/queries")
async def queries(request: Request, name: str, group: TextParameter = "") -> dict[str, Any]:
    """List the queries of a dataset, or of one of its groups, in order."""
    store = _store(request)
    found = await store.datasets.get(name)
    rows = await store.datasets.queries(found.id, [group] if group else [])
    return {"rows": [row.model_dump(mode="json") for row in rows]}


@router.get("/datasets/{name}/tools")
async def tools(request: Request, name: str, category: TextParameter = "") -> dict[str, Any]:
    """List the standard names of tools and their APIs."""
    store = _store(request)
    found = await store.datasets.get(name)
    by_tool: dict[tuple[str, str], list[str]] = {}
    for ref in await store.datasets.api_refs(found.id):
        if not category or ref.category == category:
            by_tool.setdefault((ref.category, ref.tool), []).append(ref.api)
    return {"rows": [{"category": c, "tool": t, "apis": apis} for (c, t), apis in by_tool.items()]}


@router.get("/datasets/{name}/tools/{category}/{tool}")
async def tool(
    request: Request, name: str, category: TextPathParameter, tool: TextPathParameter
) -> ToolDocument:
    """Get the document of one tool; names in standard form."""
    store = _store(request)
    found = await store.datasets.get(name)
    documents = await store.datasets.tools(found.id, category=category, tool=tool)
    if not documents:
        raise NotFoundError(f"There is no tool {tool!r} in category {category!r}.")
    return documents[0]


@router.get("/misses")
async def misses(
    request: Request,
    dataset: TextParameter = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> dict[str, Any]:
    """List calls that could not be answered, the most frequent first, with the nearest recorded call."""
    worker = _worker(request)
    store = worker.resources.store
    found = await store.datasets.get(dataset or worker.options.dataset)
    rows = await store.misses.most_frequent(found.id, limit=limit, offset=offset)
    return {
        "rows": [
            {
                "key": miss.key,
                "category": miss.category,
                "tool": miss.tool,
                "api": miss.api,
                "arguments": miss.arguments.decode(),
                "count": miss.count,
                "first_at": miss.first_at,
                "last_at": miss.last_at,
                "client": miss.client,
                "nearest_key": miss.nearest_key,
                "nearest_arguments": miss.nearest_arguments and miss.nearest_arguments.decode(),
                "nearest_similarity": miss.nearest_similarity,
            }
            for miss in rows
        ]
    }
