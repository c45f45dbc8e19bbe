"""The store for the length of a command."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from stb_core.cli.program import current_settings
from stb_core.store import Store, open_store


@asynccontextmanager
async def current_store() -> AsyncGenerator[Store]:
    """The store that the settings name, open until the block ends."""
    store = await open_store(current_settings().database_url)
    try:
        yield store
    finally:
        await store.close()
