"""A dataset as requests with the same headers see it: in one mode, and in force or as a snapshot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b

from stb_core.store import Dataset, Snapshot
from stb_core.values import CacheMode, ToolCall
from stb_server.calls import CallRequest, Catalogue
from stb_server.pipeline import Pipeline

MAX_REMEMBERED = 65_536
"""Request bodies per dataset whose call is remembered."""


class DatasetNames:
    """What requests to one dataset mean: the names of its APIs, and the calls of request bodies seen before.

    Args:
        dataset: its row.
        catalogue: the names of its APIs.
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
class ViewRequest:
    """What the headers of a request ask for; empty fields mean the server's defaults."""

    dataset: str = ""
    mode: str = ""
    snapshot: str = ""


@dataclass(frozen=True)
class DatasetView:
    """How requests with the same headers see a dataset.

    ``namespace`` names the dataset's state in this worker's memory. ``content`` is the set of responses
    whose hash all workers share answers under. ``reads`` says that a recording answers first, so that
    an answer in memory can be sent at once.
    """

    names: DatasetNames
    mode: CacheMode
    pipeline: Pipeline
    snapshot: Snapshot | None
    namespace: str
    content: Snapshot
    reads: bool

    @classmethod
    def create(
        cls, names: DatasetNames, mode: CacheMode, pipeline: Pipeline, snapshot: Snapshot | None
    ) -> DatasetView:
        """The view of a dataset as it is now, or as a snapshot has it."""
        growing = snapshot is not None and mode.rules.keeps
        namespace = cache_namespace(names.dataset, snapshot, growing=growing)
        content = snapshot or names.in_force
        return cls(names, mode, pipeline, snapshot, namespace, content, mode.rules.reads)

    def call_request(self, call: ToolCall, toolbench_key: str = "", client: str = "") -> CallRequest:
        """The request that the pipeline gets for a call of a client with this name."""
        return CallRequest(
            self.names.dataset,
            call,
            toolbench_key,
            self.namespace,
            self.snapshot,
            self.content,
            client=client,
        )

    def without_reading(self) -> DatasetView:
        """The same view, but every call goes through all layers."""
        return replace(self, reads=False)


def cache_namespace(dataset: Dataset, snapshot: Snapshot | None, *, growing: bool) -> str:
    """The namespace of answers in a worker's memory: another one for every dataset and every state of it.

    Another store may have a state of the same name, so what stores share is not kept under it.

    Args:
        dataset: the dataset that the answers belong to.
        snapshot: the frozen set that they come from; None for the responses in force.
        growing: whether answers recorded after the snapshot complete it.
    """
    state = (
        f"in force {dataset.changes}" if snapshot is None else f"snapshot {snapshot.hash} {snapshot.last_id}"
    )
    identity = f"{dataset.id}/{dataset.name}/{dataset.created_at}/{state}/{growing}"
    return blake2b(identity.encode(), digest_size=12).hexdigest()
