"""Liveness and readiness: is the process up, and can each of its parts do its work?"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from stb_core.errors import StoreError
from stb_server.app.metrics_collection import numbers_of
from stb_server.cache.redis_connection import RedisLink
from stb_server.cache.redis_tier import RedisCache
from stb_server.worker.metrics import exposition
from stb_server.worker.worker import Service

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process is up and its loop turns."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "A part that answers need does not work."}})
async def readyz(request: Request) -> JSONResponse:
    """Every part with its state; 503 when calls cannot be answered."""
    service: Service = request.app.state.service
    ready, document = await readiness(service)
    return JSONResponse(document, 200 if ready else 503)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """The numbers of all workers, in Prometheus's text format."""
    return Response(exposition(numbers_of(request.app.state.service)), media_type=CONTENT_TYPE_LATEST)


async def readiness(service: Service) -> tuple[bool, dict[str, Any]]:
    """Whether calls can be answered, and the state of every part."""
    ledger, writer = service.parts.ledger, service.parts.writer
    parts: dict[str, Any] = {
        "memory": {"status": "ok", "entries": len(service.memory), "bytes": service.memory.size_bytes},
        "writes": {"status": "ok", "queued": writer.queued, "failed": writer.failed},
        "miss_ledger": {
            "status": "ok" if not ledger.lost else "lost",
            "queued": ledger.queued,
            "lost": ledger.lost,
        },
    }
    if service.parts.redis:
        parts["redis"] = await _redis(service.parts.redis, service.parts.tiers.redis)
    if service.parts.upstream:
        parts["upstream"] = {"status": "configured"}
    if service.options.simulator:
        simulator = service.options.simulator
        parts["simulator"] = {
            "status": "configured",
            "name": simulator.simulator,
            "identity": simulator.identity,
        }
    if service.faults:
        parts["faults"] = {
            "status": "injecting",
            "plan": str(service.faults.plan),
        } | service.faults.counts.report()
    ready = True
    try:
        there = await service.parts.store.datasets.all()
        parts["store"] = {"status": "ok"}
    except StoreError as problem:
        there, ready = [], False
        parts["store"] = {"status": "down", "reason": problem.message}
    datasets = [
        {
            "name": dataset.name,
            "content_hash": dataset.content_hash,
            "responses_hash": dataset.responses_hash,
            "responses": dataset.responses_count,
            "default": dataset.name == service.options.dataset,
        }
        for dataset in there
    ]
    if parts["store"]["status"] == "ok" and not any(row["default"] for row in datasets):
        ready = False
        parts["dataset"] = {"status": "gone", "name": service.options.dataset}
    document = {
        "status": "ready" if ready else "not ready",
        "mode": service.options.mode.value,
        "modes": [mode.value for mode in service.parts.pipelines],
        "parts": parts,
        "datasets": datasets,
    }
    return ready, document


async def _redis(link: RedisLink, cache: RedisCache | None) -> dict[str, Any]:
    """Redis's state: ``ok``, ``full`` when it refuses to keep answers, or ``down``; never a reason not to be ready."""
    await link.check()
    if not link.is_up:
        return {"status": "down", "reason": link.problem}
    return {"status": "full" if cache and cache.is_refusing else "ok"}
