"""Liveness and readiness: is the process up, and can each of its parts do its work?"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from stb_core.errors import StoreError
from stb_server.service import Service

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


async def readiness(service: Service) -> tuple[bool, dict[str, Any]]:
    """Whether calls can be answered, and the state of every part."""
    ledger = service.parts.ledger
    parts: dict[str, Any] = {
        "memory": {"status": "ok", "entries": len(service.memory), "bytes": service.memory.size_bytes},
        "miss_ledger": {
            "status": "ok" if not ledger.lost else "lost",
            "queued": ledger.queued,
            "lost": ledger.lost,
        },
    }
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
        "parts": parts,
        "datasets": datasets,
    }
    return ready, document
