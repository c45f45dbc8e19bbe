"""The store: everything that is kept, grouped by what it is; ``open_store`` opens it."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from stb_core.store import migrations
from stb_core.store.cost_shares import CostShares
from stb_core.store.curation import Curation
from stb_core.store.database import Database, open_engine, use_wal
from stb_core.store.datasets import Datasets
from stb_core.store.episode_records import EpisodeRecords
from stb_core.store.episodes import EpisodeCalls
from stb_core.store.misses import Misses
from stb_core.store.responses import Responses
from stb_core.store.runs import Runs
from stb_core.store.snapshots import Snapshots
from stb_core.store.verdicts import Verdicts
from stb_core.store.work import Work


class Store(Database):
    """An open store. Get one with ``open_store``; tables are grouped by what they hold."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine)
        self.datasets = Datasets(self)
        self.responses = Responses(self)
        self.curation = Curation(self, self.responses)
        self.snapshots = Snapshots(self)
        self.misses = Misses(self)
        self.episodes = EpisodeCalls(self)
        self.work = Work(self)
        self.cost_shares = CostShares(self, self.work)
        self.runs = Runs(self, self.work, self.cost_shares)
        self.episode_records = EpisodeRecords(self, self.runs)
        self.verdicts = Verdicts(self, self.runs, self.work)


async def open_store(url: str, *, migrate: bool = True, keep_copy: bool = True) -> Store:
    """Open the store at a database URL, make it if it is not there, and bring its schema up to date.

    Args:
        url: where it is.
        migrate: whether it is made, checked and brought up to date, see ``stb_core.store.migrations``.
        keep_copy: whether an older SQLite store is copied before it is changed.

    Raises:
        StoreError: it cannot be opened, or was written by a newer version of this program.
    """
    store = Store(open_engine(url))
    try:
        await use_wal(store)
        if migrate:
            await migrations.upgrade(store, keep_copy=keep_copy)
    except BaseException:
        await store.close()
        raise
    return store
