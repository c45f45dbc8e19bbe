"""The inspector as a separate application, for ``stb view``; it serves no agents."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware

from stb_core.store import Store, open_store
from stb_server.app.host_guard import HostGuard
from stb_server.app.origin_guard import OriginGuard
from stb_server.inspector import Inspector, routes
from stb_server.worker import Hosts


def create_inspector(
    database_url: str, started: Callable[[], None] = lambda: None, *, write_token: str = ""
) -> Starlette:
    """Make an application that serves the pages of a store to this machine.

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
            await app.state.inspector.response_counts.close()
            await store.close()

    guards = [Middleware(guard, hosts=Hosts(())) for guard in (HostGuard, OriginGuard)]
    app = Starlette(routes=routes(), lifespan=lifespan, middleware=guards)
    app.state.inspector = Inspector(lambda: opened[0], write_token=write_token)
    return app
