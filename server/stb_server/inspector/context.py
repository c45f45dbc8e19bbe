"""The state that all pages of the inspector share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version

from stb_core.store import Run, Store
from stb_server.inspector.response_counts import ResponseCounter
from stb_server.inspector.run_digests import RunDigests
from stb_server.inspector.standings import Standings
from stb_server.worker import Clients, Worker


@dataclass
class Inspector:
    """The state of the pages; available as ``request.app.state.inspector``.

    ``worker`` is the virtual server in this process, or None.
    """

    open_store: Callable[[], Store]
    worker: Worker | None = None
    clients: Clients = field(default_factory=Clients, repr=False)
    write_token: str = field(default="", repr=False)
    response_counts: ResponseCounter = field(default_factory=ResponseCounter)
    digests: RunDigests = field(default_factory=RunDigests)
    standings: Standings = field(default_factory=Standings)
    version: str = version("stabletoolbench")
    only: frozenset[str] | None = None
    """The runs of a static site; None if pages are served, which show all runs."""
    title: str = ""
    """The heading of the first page of such a site."""

    @property
    def store(self) -> Store:
        """The open store."""
        return self.open_store()

    @property
    def is_static(self) -> bool:
        """Whether the pages are written to files, without a server."""
        return self.only is not None

    async def runs(self) -> list[Run]:
        """The runs to show, the oldest first."""
        runs = await self.store.runs.all()
        return runs if self.only is None else [run for run in runs if run.run in self.only]
