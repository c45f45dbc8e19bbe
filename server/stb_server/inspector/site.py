"""The routes of all pages, and ``mount``, which adds them to the virtual server."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from stb_core.errors import NotFoundError, StbError, StoreError
from stb_server.inspector import sign_in
from stb_server.inspector.context import Inspector
from stb_server.inspector.pages import cache, compare, edit, misses, overview, run_events, trajectory
from stb_server.inspector.pages import response as response_pages
from stb_server.inspector.pages import runs as run_pages
from stb_server.inspector.rendering import HEADERS, page
from stb_server.worker import Worker

_log = logging.getLogger(__name__)

PageEndpoint = Callable[[Request], Awaitable[Response]]
STATIC = Path(__file__).parent / "static"


def mount(app: Starlette, worker: Worker) -> None:
    """Add the pages to the virtual server's application."""
    options = worker.options
    app.state.inspector = Inspector(
        lambda: worker.resources.store, worker, worker.clients, options.write_token
    )
    app.router.routes.extend(routes())


def routes() -> Sequence[BaseRoute]:
    """The routes of all pages."""
    return [
        Route("/", _guard(overview.overview), name="inspector"),
        Route("/login", _guard(sign_in.login), methods=["GET", "POST"]),
        Route("/logout", _guard(sign_in.logout), methods=["POST"]),
        Route("/edit", _guard(edit.edit), methods=["GET", "POST"]),
        Route("/edit/end", _guard(edit.end), methods=["POST"]),
        Route("/cache", _guard(cache.datasets)),
        Route("/cache/{dataset}", _guard(cache.responses)),
        Route("/cache/{dataset}/try", _guard(response_pages.attempt), methods=["GET", "POST"]),
        Route("/cache/{dataset}/record", _guard(cache.record)),
        Route("/cache/{dataset}/{key}", _guard(response_pages.response)),
        Route("/cache/{dataset}/{key}", _guard(edit.change), methods=["POST"]),
        Route("/cache/{dataset}/{key}/raw", _guard(response_pages.raw)),
        Route("/cache/{dataset}/{key}/diff", _guard(response_pages.difference)),
        Route("/misses", _guard(misses.misses)),
        Route("/misses/{dataset}", _guard(misses.misses)),
        Route("/compare", _guard(compare.compare)),
        Route("/compare/{figure}.svg", _guard(compare.figure)),
        Route("/runs", _guard(run_pages.runs)),
        Route("/runs/{run}", _guard(run_pages.run)),
        Route("/runs/{run}/events", _guard(run_events.events)),
        Route("/runs/{run}/{group}/{query_id}", _guard(trajectory.trajectory)),
        Route("/runs/{run}/{group}/{query_id}/raw", _guard(trajectory.raw)),
        Mount("/static", _Static(directory=STATIC), name="static"),
        *(Route(f"/{room}/{{rest:path}}", _guard(_report_missing)) for room in ("cache", "misses", "runs")),
    ]


class _Static(StaticFiles):
    """Static files, with the headers of the pages."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        """One file."""
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers.update(HEADERS)
        return response


async def _report_missing(request: Request) -> Response:
    raise NotFoundError(f"There is no page {request.url.path}.")


def _guard(endpoint: PageEndpoint) -> PageEndpoint:
    """Wrap an endpoint so that an error becomes a page that explains it."""

    @wraps(endpoint)
    async def call(request: Request) -> Response:
        try:
            return await endpoint(request)
        except NotFoundError as problem:
            return page(request, "error.html", status=404, title="Not found", text=str(problem))
        except StoreError as problem:
            _log.warning("a page could not be rendered", extra={"reason": str(problem)})
            text = "The store does not answer. Try again in a moment."
            return page(request, "error.html", status=503, title="The store does not answer", text=text)
        except StbError as problem:
            return page(
                request, "error.html", status=400, title="This page cannot be shown", text=str(problem)
            )
        except Exception:  # noqa: BLE001 - the border: a browser gets a page whatever happened
            _log.exception("a page failed", extra={"path": request.url.path})
            text = "The page failed. See the server's log."
            return page(request, "error.html", status=500, title="Something went wrong", text=text)

    return call
