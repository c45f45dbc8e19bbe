"""Assembles the server: ``create_app(options)`` makes the application, and nothing happens before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from stb_core.errors import NotFoundError, StoreError
from stb_server.app import dataset_routes, health, openapi
from stb_server.app.body_limit import BodyLimit
from stb_server.app.host_guard import HostGuard
from stb_server.app.metrics_collection import publish_forever, publish_last
from stb_server.app.origin_guard import OriginGuard
from stb_server.app.response_headers import ResponseHeaders
from stb_server.app.stop_guard import StopGuard
from stb_server.app.token_guard import TokenGuard
from stb_server.app.virtual_endpoint import VirtualEndpoint
from stb_server.calls import BadRequestError
from stb_server.episodes import MCP_PATHS, EpisodeService, McpEndpoint, ModelProxy
from stb_server.episodes import routes as episodes
from stb_server.inspector import json_api
from stb_server.inspector import site as inspector
from stb_server.worker import ServerOptions, Worker


class ServerApp(FastAPI):
    """The application; ``POST /virtual`` goes straight to its endpoint, around all middleware."""

    virtual: VirtualEndpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] == "http" and scope["path"] == "/virtual" and scope["method"] == "POST":
            await self.virtual(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(
    options: ServerOptions,
    *,
    ready: Callable[[], None] | None = None,
    closing: Callable[[], None] | None = None,
) -> FastAPI:
    """The server as an ASGI application; it opens its store when it starts.

    Args:
        options: its settings.
        ready: called when it can answer; if it raises an exception, the server does not start.
        closing: called when it answers no more and begins to close.
    """
    worker = Worker(options)
    host = EpisodeService(worker)
    mcp, proxy = McpEndpoint(host), ModelProxy(host)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        await worker.open()
        background = [asyncio.create_task(publish_forever(worker)), asyncio.create_task(host.sweep_forever())]
        try:
            if ready:
                ready()
            yield
        finally:
            if closing:
                closing()
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await worker.end_flights()
            await host.close()
            await mcp.close()
            await proxy.close()
            await worker.close()
            publish_last(worker)

    app = ServerApp(
        title="StableToolBench virtual API server",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.state.worker = worker
    app.state.episodes = host
    app.virtual = VirtualEndpoint(worker)
    app.router.routes.append(Route("/virtual", app.virtual, methods=["POST"], name="virtual"))
    app.include_router(dataset_routes.router)
    app.include_router(json_api.router)
    app.include_router(health.router)
    app.include_router(episodes.router)
    for path in MCP_PATHS:
        app.router.routes.append(Route(path, mcp, methods=["GET", "POST", "DELETE"], name="mcp"))
    app.router.routes.append(Route("/proxy/e/{token}/{path:path}", proxy, name="proxy"))  # all methods
    inspector.mount(app, worker)
    app.add_middleware(BodyLimit, prefix="/v1/episodes", max_bytes=options.max_body_bytes)
    app.add_middleware(TokenGuard, clients=worker.clients)
    app.add_middleware(OriginGuard, hosts=options.hosts)
    app.add_middleware(HostGuard, hosts=options.hosts)
    app.add_middleware(StopGuard)
    app.add_middleware(ResponseHeaders)
    app.add_exception_handler(NotFoundError, _not_found)
    app.add_exception_handler(StoreError, _store_unavailable)
    app.add_exception_handler(BadRequestError, _bad_request)
    openapi.document_virtual(app)
    return app


def _error(status: int, message: str, kind: str, headers: dict[str, str] | None = None) -> JSONResponse:
    content: dict[str, Any] = {"error": message, "type": kind, "response": ""}
    return JSONResponse(content, status, headers={**(headers or {}), "X-STB-Error": kind})


def _not_found(_: Request, problem: Exception) -> JSONResponse:
    return _error(404, str(problem), "not_found")


def _store_unavailable(_: Request, _problem: Exception) -> JSONResponse:
    return _error(503, "The store does not answer; try again later.", "store_unavailable")


def _bad_request(_: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, BadRequestError)
    headers = {name.decode(): value.decode() for name, value in problem.headers}
    return _error(problem.status, problem.message, problem.kind, headers)
