"""What a call is answered with, and what may answer it."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from stb_core.store.datasets import Dataset
from stb_core.store.snapshots import Snapshot
from stb_core.usage import Usage
from stb_core.values.calls import ToolCall
from stb_core.values.provenance import Provenance


class CallRequest(NamedTuple):
    """A call together with the dataset that is to answer it."""

    dataset: Dataset
    call: ToolCall
    toolbench_key: str = ""
    """The caller's credential for the real API; never stored, logged or shown."""
    space: str = ""
    """Under what this worker's memory keeps answers of this dataset, in the state in which it is served."""
    snapshot: Snapshot | None = None
    """The frozen set of responses that may answer; None for all that are in force."""
    content: Snapshot | None = None
    """The set of responses under whose hash answers may be shared with other stores; None for no sharing."""
    again: bool = False
    """Whether the cache was asked for this call before, so that this time is not counted."""

    def __repr__(self) -> str:
        return f"Asked({self.dataset.name!r}, {self.call!r})"


class Answer(NamedTuple):
    """One answer: the exact bytes to send, where it came from, and which tier had it.

    ``error`` is the type of a failure that the body tells the agent of; "" for an answer proper.
    ``usage`` is what a simulator's model consumed for this very request, None where none was asked.
    """

    body: bytes
    provenance: Provenance
    tier: str = "miss"
    error: str = ""
    details: dict[str, Any] | None = None
    usage: Usage | None = None


class Decline(NamedTuple):
    """Why a layer has no answer; ``kind`` is a short type such as ``miss`` or ``timeout``.

    ``usage`` is what a model consumed all the same.
    """

    kind: str
    message: str
    usage: Usage | None = None


class Layer(Protocol):
    """Something that may answer a call."""

    async def answer(self, asked: CallRequest) -> Answer | Decline:
        """Answer the call or decline.

        Raises:
            StoreError: the store cannot be read; the request fails as a whole with 503.
        """
        ...
