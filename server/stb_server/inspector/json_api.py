"""``/v1``: responses and runs as JSON, read-only."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from stb_core.errors import NotFoundError
from stb_core.store import Run
from stb_server.inspector.context import Inspector
from stb_server.inspector.pages.trajectory import load_document
from stb_server.inspector.run_digests import RunDigest, TrialDigest
from stb_server.inspector.run_rows import count_good_trials
from stb_server.inspector.search import PAGE, ResponseSearch, SearchHit, search

router = APIRouter(prefix="/v1", responses={404: {"description": "Not found."}})

# Compared with names in the store, which hold no NUL.
_TEXT = r"^[^\x00]*$"
TextParameter = Annotated[str, Query(max_length=256, pattern=_TEXT)]
TextPathParameter = Annotated[str, Path(min_length=1, max_length=256, pattern=_TEXT)]
NumberParameter = Annotated[int, Query(ge=0, le=2**31)]


def _inspector(request: Request) -> Inspector:
    inspector: Inspector = request.app.state.inspector
    return inspector


@router.get("/responses")
async def responses(
    request: Request,
    dataset: TextParameter = "",
    category: TextParameter = "",
    tool: TextParameter = "",
    api: TextParameter = "",
    name: TextParameter = "",
    arguments: TextParameter = "",
    text: TextParameter = "",
    provenance: TextParameter = "",
    since: TextParameter = "",
    before: TextParameter = "",
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
) -> dict[str, Any]:
    """Search responses in force: 50 per page, ordered by category, tool, API and age.

    The parameters are those of the page ``/cache/DATASET``. One request searches at most 10,000 responses. If
    ``after`` in the answer is not 0, send it with the next request to continue.
    """
    inspector = _inspector(request)
    assert inspector.worker is not None
    source = await inspector.store.datasets.get(dataset or inspector.worker.options.dataset)
    terms = ResponseSearch.read(
        {
            "category": category,
            "tool": tool,
            "api": api,
            "name": name,
            "arguments": arguments,
            "text": text,
            "provenance": provenance,
            "since": since,
            "before": before,
        }
    )
    tally, _ = await inspector.response_counts.get(inspector.store, source)
    page = await search(inspector.store, source.id, terms, tally, after=after)
    return {
        "dataset": source.name,
        "rows": [_hit_row(hit) for hit in page.hits],
        "examined": page.examined,
        "after": page.after,
    }


@router.get("/responses/{dataset}/{key}")
async def response(request: Request, dataset: TextPathParameter, key: TextPathParameter) -> dict[str, Any]:
    """Get one response with all its versions, the newest first, and its manual changes."""
    store = _inspector(request).store
    source = await store.datasets.get(dataset)
    versions = await store.responses.versions(source.id, key)
    events = await store.curation.of(source.id, key)
    if not versions and not events:
        raise NotFoundError(f"Dataset {source.name} has no response {key[:80]!r}.")
    return {
        "dataset": source.name,
        "key": key,
        "rows": [
            {
                "version": one.version,
                "category": one.category,
                "tool": one.tool,
                "api": one.api,
                "arguments": one.arguments.decode(errors="replace"),
                "body": one.body.decode(errors="replace"),
                "provenance": one.provenance.value,
                "details": one.details,
                "created_at": one.created_at,
                "superseded_at": one.superseded_at,
                "pinned": one.pinned,
            }
            for one in versions
        ],
        "by_hand": [
            {"act": event.act.value, "text": event.text, "created_at": event.created_at} for event in events
        ],
    }


@router.get("/runs")
async def runs(request: Request, dataset: TextParameter = "") -> dict[str, Any]:
    """All runs, or those on a dataset, the oldest first."""
    inspector = _inspector(request)
    selected = [run for run in await inspector.runs() if dataset in {"", run.dataset}]
    return {
        "rows": [_run_row(run, await inspector.digests.get(inspector.store, run.run)) for run in selected]
    }


@router.get("/runs/{run}")
async def run(
    request: Request, run: TextPathParameter, limit: NumberParameter = PAGE, offset: NumberParameter = 0
) -> dict[str, Any]:
    """Get one run with its manifest, and its trials by group and query."""
    inspector = _inspector(request)
    stored = await inspector.store.runs.get(run)
    digest = await inspector.digests.get(inspector.store, stored.run)
    trials = [digest.trials[place] for place in sorted(digest.trials)]
    return {
        **_run_row(stored, digest),
        "manifest": stored.manifest.model_dump(mode="json"),
        "rows": [_trial_row(trial) for trial in trials[offset : offset + limit]],
        "total": len(trials),
    }


@router.get("/runs/{run}/{group}/{query_id}", response_class=Response)
async def trajectory(
    request: Request,
    run: TextPathParameter,
    group: TextPathParameter,
    query_id: TextPathParameter,
    trial: Annotated[int, Query(ge=0, le=10**6)] = 0,
) -> Response:
    """Get one trajectory as it is stored: the last attempt of a trial."""
    store = _inspector(request).store
    stored = await store.runs.get(run)
    document, _ = await load_document(store, stored.run, group, query_id, trial)
    return Response(document, media_type="application/json")


def _hit_row(hit: SearchHit) -> dict[str, Any]:
    return {
        "key": hit.key,
        "category": hit.ref.category,
        "tool": hit.ref.tool,
        "api": hit.ref.api,
        "arguments": hit.arguments.decode(errors="replace"),
        "bytes": hit.body_bytes,
        "provenance": hit.provenance,
        "created_at": hit.created_at,
        "pinned": hit.pinned,
    }


def _run_row(run: Run, digest: RunDigest) -> dict[str, Any]:
    done = count_good_trials(run, digest)
    return {
        "run": run.run,
        "name": run.name,
        "dataset": run.dataset,
        "agent": run.agent,
        "model": run.model,
        "trials": run.trials,
        "done": done,
        "expected": run.n_expected,
        "complete": done >= run.n_expected,
        "stops": dict(digest.stops),
        "provenance": dict(digest.provenances),
        "usage": digest.usage.model_dump(),
        "created_at": run.created_at,
    }


def _trial_row(trial: TrialDigest) -> dict[str, Any]:
    row = dataclasses.asdict(trial)
    usage = trial.usage.model_dump()
    simulator = trial.simulator.model_dump() if trial.simulator else None
    return {**row, "usage": usage, "simulator": simulator, "provenances": dict(trial.provenances)}
