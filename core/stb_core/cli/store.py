"""The store of a command: open while the command runs, and the dataset in it that the command is about."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from stb_core.cli.program import current_settings
from stb_core.errors import NotFoundError, UsageError
from stb_core.store import Dataset, Store, open_store


@asynccontextmanager
async def opened_store() -> AsyncGenerator[Store]:
    """The store that the settings name, closed at the end of the block."""
    store = await open_store(current_settings().database_url)
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
