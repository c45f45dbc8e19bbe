"""Assembles the server: ``create_app(options)`` makes the application, and nothing happens before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from stb_core.errors import NotFoundError, StoreError
from stb_server import health, openapi, routes
from stb_server.counts import leave_forever
from stb_server.guard import TokenGuard
from stb_server.hosts import HostGuard
from stb_server.inspector import site as inspector
from stb_server.options import ServerOptions
from stb_server.service import Service
from stb_server.virtual import Virtual


class App(FastAPI):
    """The application; ``POST /virtual`` goes straight to its endpoint, around all middleware."""

    virtual: Virtual

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] == "http" and scope["path"] == "/virtual" and scope["method"] == "POST":
            await self.virtual(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(options: ServerOptions) -> FastAPI:
    """The server as an ASGI application; it opens its store when it starts."""
    service = Service(options)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        await service.open()
        leaving = asyncio.create_task(leave_forever(service))
        try:
            yield
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            await service.close()

    app = App(
        title="StableToolBench virtual API server",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.state.service = service
    app.virtual = Virtual(service)
    app.router.routes.append(Route("/virtual", app.virtual, methods=["POST"], name="virtual"))
    app.include_router(routes.router)
    app.include_router(health.router)
    inspector.mount(app, service)
    app.add_middleware(TokenGuard, token=options.token)
    app.add_middleware(HostGuard, hosts=options.hosts)
    app.add_exception_handler(NotFoundError, _not_found)
    app.add_exception_handler(StoreError, _store_unavailable)
    openapi.document_virtual(app)
    return app


def _error(status: int, message: str) -> JSONResponse:
    content: dict[str, Any] = {"error": message, "response": ""}
    return JSONResponse(content, status)


def _not_found(_: Request, problem: Exception) -> JSONResponse:
    return _error(404, str(problem))


def _store_unavailable(_: Request, _problem: Exception) -> JSONResponse:
    return _error(503, "The store does not answer; try again later.")
