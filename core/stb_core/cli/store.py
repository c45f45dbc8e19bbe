"""The store of a command: open while the command runs, and the dataset in it that the command is about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from stb_core.cli.program import current_settings
from stb_core.errors import NotFoundError, StoreUnreachableError, UsageError
from stb_core.store import Dataset, Store, open_store

_RETRY_S = 0.5
"""Seconds between two attempts to reach a database that is still starting."""


@asynccontextmanager
async def opened_store(wait_s: float = 0.0) -> AsyncGenerator[Store]:
    """The store that the settings name, closed at the end of the block.

    Args:
        wait_s: how long to wait for a database server that cannot be reached yet, in seconds.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            store = await open_store(current_settings().database_url)
            break
        except StoreUnreachableError:
            if time.monotonic() >= deadline:
                raise
            await asyncio.sleep(_RETRY_S)
    try:
        yield store
    finally:
        await store.close()


async def choose_dataset(store: Store, name: str) -> Dataset:
    """The dataset of that name, or the only one in the store when no name is given.

    Raises:
        NotFoundError: there is no such dataset, or none at all.
        UsageError: no name is given and there are several.
    """
    if name:
        return await store.datasets.get(name)
    datasets = await store.datasets.all()
    if not datasets:
        raise NotFoundError("There is no dataset.", hint="Import one: stb data import PATH --name NAME.")
    if len(datasets) > 1:
        names = ", ".join(dataset.name for dataset in datasets)
        raise UsageError("There are several datasets.", hint=f"Name one of them: {names}.")
    return datasets[0]
