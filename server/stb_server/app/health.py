"""Liveness, readiness and metrics of a worker."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from stb_server.app.metrics_collection import collect_numbers
from stb_server.cache import RedisCache, RedisLink
from stb_server.worker import Worker, exposition

router = APIRouter(tags=["health"])

_OK = {"status": "ok"}


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Liveness: the process is running and responds."""
    return {"status": "ok"}


@router.get(
    "/readyz", responses={503: {"description": "A part that is needed to answer calls does not work."}}
)
async def readyz(request: Request) -> JSONResponse:
    """Readiness: the state of every part; 503 if calls cannot be answered."""
    worker: Worker = request.app.state.worker
    ready, document = await readiness(worker)
    return JSONResponse(document, 200 if ready else 503)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Metrics of all workers, in Prometheus's text format."""
    return Response(exposition(collect_numbers(request.app.state.worker)), media_type=CONTENT_TYPE_LATEST)


async def readiness(worker: Worker) -> tuple[bool, dict[str, Any]]:
    """Whether calls can be answered, and the state of every part."""
    ledger, writer, health = worker.resources.ledger, worker.resources.writer, worker.resources.health
    await health.check()
    parts: dict[str, Any] = {
        "memory": {"status": "ok", "entries": len(worker.memory), "bytes": worker.memory.size_bytes},
        "writes": {
            **({"status": "failing", "reason": health.write_problem} if health.write_problem else _OK),
            "queued": writer.queued,
            "failed": writer.failed,
        },
        "miss_ledger": {
            "status": "ok" if not ledger.lost else "lost",
            "queued": ledger.queued,
            "lost": ledger.lost,
        },
    }
    if worker.options.tokens_file:
        broken = worker.clients.problem
        state = {"status": "unusable", "reason": broken} if broken else _OK
        parts["tokens"] = {**state, "names": len(worker.clients.names)}
    if worker.resources.redis:
        parts["redis"] = await _redis(worker.resources.redis, worker.resources.tiers.redis)
    if worker.resources.upstream:
        parts["upstream"] = {"status": "configured"}
    if worker.options.simulator:
        simulator = worker.options.simulator
        parts["simulator"] = {
            "status": "configured",
            "name": simulator.simulator,
            "identity": simulator.identity,
        }
    if worker.faults:
        parts["faults"] = {
            "status": "injecting",
            "plan": str(worker.faults.plan),
        } | worker.faults.counts.report()
    parts["store"] = {"status": "down", "reason": health.read_problem} if health.read_problem else _OK
    must_write = worker.options.mode.rules.keeps
    ready = not health.read_problem and not (health.write_problem and must_write)
    datasets = [
        {
            "name": dataset.name,
            "content_hash": dataset.content_hash,
            "responses_hash": dataset.responses_hash,
            "responses": dataset.responses_count,
            "default": dataset.name == worker.options.dataset,
        }
        for dataset in health.datasets
    ]
    if not health.read_problem and not any(row["default"] for row in datasets):
        ready = False
        parts["dataset"] = {"status": "gone", "name": worker.options.dataset}
    document = {
        "status": "not ready" if not ready else "degraded" if health.write_problem else "ready",
        "mode": worker.mode.value,
        "modes": [mode.value for mode in worker.pipelines],
        "parts": parts,
        "datasets": datasets,
    }
    return ready, document


async def _redis(link: RedisLink, cache: RedisCache | None) -> dict[str, Any]:
    """The state of Redis: ``ok``, ``full`` if it refuses to store answers, or ``down``; it never affects readiness."""
    await link.check()
    if not link.is_up:
        return {"status": "down", "reason": link.problem}
    return {"status": "full" if cache and cache.is_refusing else "ok"}
