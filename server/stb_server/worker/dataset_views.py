"""A lane: one dataset, in one state and one mode, as requests with the same headers meet it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b

from stb_core.store.datasets import Dataset
from stb_core.store.snapshots import Snapshot
from stb_core.values.calls import ToolCall
from stb_core.values.provenance import CacheMode
from stb_server.calls.answers import Asked
from stb_server.calls.catalogue import Catalogue
from stb_server.pipeline.modes import READING, RECORDING
from stb_server.pipeline.pipeline import Pipeline

MAX_REMEMBERED = 65_536
"""Request bodies whose call is remembered, a dataset."""


class Names:
    """What requests to one dataset mean: its names, and the calls of request bodies seen before.

    Args:
        dataset: its row.
        catalogue: its names.
        in_force: the responses that were in force when it was opened, as a snapshot.
    """

    def __init__(self, dataset: Dataset, catalogue: Catalogue, in_force: Snapshot) -> None:
        self.dataset = dataset
        self.catalogue = catalogue
        self.in_force = in_force
        self._newer: dict[bytes, str] = {}
        self._older: dict[bytes, str] = {}

    def remembered(self, digest: bytes) -> str | None:
        """The key of the call that the request body with this digest means, if it was seen before."""
        return self._newer.get(digest) or self._older.get(digest)

    def remember(self, digest: bytes, key: str) -> None:
        """Keep what a request body means; the older half is forgotten when there are too many."""
        if len(self._newer) >= MAX_REMEMBERED // 2:
            self._older, self._newer = self._newer, {}
        self._newer[digest] = key


@dataclass(frozen=True)
class Wanted:
    """What a request asks for by its headers; empty fields mean the server's defaults."""

    dataset: str = ""
    mode: str = ""
    snapshot: str = ""


@dataclass(frozen=True)
class Lane:
    """Where requests with the same headers go.

    ``space`` names the dataset's state for this worker's memory, ``content`` is the set of responses by
    whose hash all workers share answers; ``reads`` says that a recording answers first, so that what
    memory holds may be answered at once.
    """

    names: Names
    mode: CacheMode
    pipeline: Pipeline
    snapshot: Snapshot | None
    space: str
    content: Snapshot
    reads: bool

    @classmethod
    def of(cls, names: Names, mode: CacheMode, pipeline: Pipeline, snapshot: Snapshot | None) -> Lane:
        """The lane of a dataset in the state in which it is now, or in that of a snapshot."""
        growing = snapshot is not None and mode in RECORDING
        space = space_of(names.dataset, snapshot, growing=growing)
        return cls(names, mode, pipeline, snapshot, space, snapshot or names.in_force, mode in READING)

    def asked(self, call: ToolCall, toolbench_key: str = "") -> Asked:
        """A call as the pipeline is asked for it."""
        return Asked(self.names.dataset, call, toolbench_key, self.space, self.snapshot, self.content)

    def without_reading(self) -> Lane:
        """The same, but every call goes through all layers."""
        return replace(self, reads=False)


def space_of(dataset: Dataset, snapshot: Snapshot | None, *, growing: bool) -> str:
    """Under what a worker keeps answers in memory: never the same for two datasets or states of its store.

    Another store may have a state of the same name, so what stores share is not kept under it.

    Args:
        dataset: whose answers they are.
        snapshot: the frozen set that they come from; None for what is in force.
        growing: whether the snapshot is completed by what was recorded after it.
    """
    state = (
        f"in force {dataset.changes}" if snapshot is None else f"snapshot {snapshot.hash} {snapshot.last_id}"
    )
    identity = f"{dataset.id}/{dataset.name}/{dataset.created_at}/{state}/{growing}"
    return blake2b(identity.encode(), digest_size=12).hexdigest()
