"""What the commands of this room share: the store that the settings name, and a counting progress bar."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager

from stb_core.cli import console
from stb_core.cli.program import current_settings
from stb_core.store import Store, open_store


@asynccontextmanager
async def opened_store() -> AsyncGenerator[Store]:
    """The store that the settings name, closed at the end of the block."""
    store = await open_store(current_settings().database_url)
    try:
        yield store
    finally:
        await store.close()


@contextmanager
def counted(what: str, total: int) -> Generator[Callable[[int], None]]:
    """A progress bar over ``total`` things, as a function that is told how many more are done."""
    with console.progress() as bar:
        task = bar.add_task(what, total=total, note="")
        yield lambda number: bar.advance(task, number)
