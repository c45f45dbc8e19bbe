"""Puts the pages on an application: ``mount`` beside the virtual server, ``create_inspector`` alone."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import wraps
from importlib.metadata import version
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from stb_core.errors import NotFoundError, StbError, StoreError
from stb_core.store import Store, open_store
from stb_core.store.runs import Run
from stb_server.hosts import HostGuard, Hosts
from stb_server.inspector import (
    access,
    cache_pages,
    compare_page,
    editing,
    live,
    miss_pages,
    overview,
    response_pages,
    run_pages,
    trajectory_pages,
)
from stb_server.inspector.digests import Digests
from stb_server.inspector.rendering import HEADERS, page
from stb_server.inspector.standings import Standings
from stb_server.inspector.tally import Tallies
from stb_server.origins import OriginGuard
from stb_server.service import Service

_log = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]
STATIC = Path(__file__).parent / "static"


@dataclass
class Inspector:
    """What the pages share; reached as ``request.app.state.inspector``.

    ``service`` is the virtual server that runs in this process, None where there is none.
    """

    open_store: Callable[[], Store]
    service: Service | None = None
    token: str = field(default="", repr=False)
    write_token: str = field(default="", repr=False)
    tallies: Tallies = field(default_factory=Tallies)
    digests: Digests = field(default_factory=Digests)
    standings: Standings = field(default_factory=Standings)
    version: str = version("stabletoolbench")
    only: frozenset[str] | None = None
    """The runs of a site that is written to files; None where pages are served and show all."""
    title: str = ""
    """The heading of the first page of such a site."""

    @property
    def store(self) -> Store:
        """The open store."""
        return self.open_store()

    @property
    def is_static(self) -> bool:
        """Whether the pages are files, without a server behind them."""
        return self.only is not None

    async def runs(self) -> list[Run]:
        """The runs that pages may show, the oldest first."""
        found = await self.store.runs.all()
        return found if self.only is None else [run for run in found if run.run in self.only]


def mount(app: Starlette, service: Service) -> None:
    """Add the pages to the virtual server's application."""
    options = service.options
    app.state.inspector = Inspector(lambda: service.parts.store, service, options.token, options.write_token)
    app.router.routes.extend(routes())


def create_inspector(
    database_url: str, started: Callable[[], None] = lambda: None, *, write_token: str = ""
) -> Starlette:
    """The pages alone, over a store, for this machine: nothing is served to agents.

    ``started`` is called when the store is open; without a ``write_token`` nothing can be changed.
    """
    opened: list[Store] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        store = await open_store(database_url)
        opened.append(store)
        started()
        try:
            yield
        finally:
            await app.state.inspector.tallies.close()
            await store.close()

    guards = [Middleware(guard, hosts=Hosts(())) for guard in (HostGuard, OriginGuard)]
    app = Starlette(routes=routes(), lifespan=lifespan, middleware=guards)
    app.state.inspector = Inspector(lambda: opened[0], write_token=write_token)
    return app


def routes() -> Sequence[BaseRoute]:
    """All pages with their addresses."""
    return [
        Route("/", _guarded(overview.overview), name="inspector"),
        Route("/login", _guarded(access.login), methods=["GET", "POST"]),
        Route("/logout", _guarded(access.logout), methods=["POST"]),
        Route("/edit", _guarded(editing.edit), methods=["GET", "POST"]),
        Route("/edit/end", _guarded(editing.end), methods=["POST"]),
        Route("/cache", _guarded(cache_pages.datasets)),
        Route("/cache/{dataset}", _guarded(cache_pages.responses)),
        Route("/cache/{dataset}/try", _guarded(response_pages.attempt), methods=["GET", "POST"]),
        Route("/cache/{dataset}/record", _guarded(cache_pages.record)),
        Route("/cache/{dataset}/{key}", _guarded(response_pages.response)),
        Route("/cache/{dataset}/{key}", _guarded(editing.change), methods=["POST"]),
        Route("/cache/{dataset}/{key}/raw", _guarded(response_pages.raw)),
        Route("/cache/{dataset}/{key}/diff", _guarded(response_pages.difference)),
        Route("/misses", _guarded(miss_pages.misses)),
        Route("/misses/{dataset}", _guarded(miss_pages.misses)),
        Route("/compare", _guarded(compare_page.compare)),
        Route("/compare/{figure}.svg", _guarded(compare_page.figure)),
        Route("/runs", _guarded(run_pages.runs)),
        Route("/runs/{run}", _guarded(run_pages.run)),
        Route("/runs/{run}/events", _guarded(live.events)),
        Route("/runs/{run}/{group}/{query_id}", _guarded(trajectory_pages.trajectory)),
        Route("/runs/{run}/{group}/{query_id}/raw", _guarded(trajectory_pages.raw)),
        Mount("/static", _Static(directory=STATIC), name="static"),
        *(Route(f"/{room}/{{rest:path}}", _guarded(_nowhere)) for room in ("cache", "misses", "runs")),
    ]


class _Static(StaticFiles):
    """Files of the pages, with the same headers."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        """One file."""
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers.update(HEADERS)
        return response


async def _nowhere(request: Request) -> Response:
    raise NotFoundError(f"There is no page {request.url.path}.")


def _guarded(endpoint: Endpoint) -> Endpoint:
    """The endpoint, with a page that says what is wrong in place of an error."""

    @wraps(endpoint)
    async def call(request: Request) -> Response:
        try:
            return await endpoint(request)
        except NotFoundError as problem:
            return page(request, "error.html", status=404, title="Not found", text=str(problem))
        except StoreError as problem:
            _log.warning("a page could not be made", extra={"reason": str(problem)})
            text = "The store does not answer. Try again in a moment."
            return page(request, "error.html", status=503, title="The store does not answer", text=text)
        except StbError as problem:
            return page(request, "error.html", status=400, title="This cannot be shown", text=str(problem))
        except Exception:  # noqa: BLE001 - the border: a browser gets a page whatever happened
            _log.exception("a page failed", extra={"path": request.url.path})
            text = "The page failed; the server's log says why."
            return page(request, "error.html", status=500, title="Something went wrong", text=text)

    return call
