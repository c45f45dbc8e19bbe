"""The store as the commands of this room open it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from stb_core.cli import current_settings
from stb_core.store import Store, open_store


@asynccontextmanager
async def opened_store() -> AsyncGenerator[Store]:
    """The store that the settings name, closed at the end of the block."""
    store = await open_store(current_settings().database_url)
    try:
        yield store
    finally:
        await store.close()
