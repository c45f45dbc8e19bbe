"""What a call is answered with, and what may answer it."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from stb_core.store import Dataset, Snapshot
from stb_core.usage import Usage
from stb_core.values import Provenance, ToolCall
from stb_server.calls.protocol import MISS

SIMULATOR_UNAVAILABLE = "simulator_unavailable"
"""The kind of a decline that is the fault of the simulator's endpoint, so that the miss says nothing about the call."""


class CallRequest(NamedTuple):
    """A call together with the dataset that is to answer it."""

    dataset: Dataset
    call: ToolCall
    toolbench_key: str = ""
    """The caller's credential for the real API; never stored, logged or shown."""
    namespace: str = ""
    """The namespace of this dataset's answers in the worker's memory; it names a state of the dataset."""
    snapshot: Snapshot | None = None
    """The frozen set of responses that may answer; None for all that are in force."""
    content: Snapshot | None = None
    """The set of responses whose hash answers are shared under with other stores; None for no sharing."""
    again: bool = False
    """Whether the cache was already asked for this call, so that this time is not counted."""
    client: str = ""
    """The name of the client; "" if it has none."""

    def __repr__(self) -> str:
        return f"CallRequest({self.dataset.name!r}, {self.call!r})"


class Answer(NamedTuple):
    """One answer: the exact bytes to send, where it came from, and which tier of the cache had it.

    ``error`` is the type of the failure that the body reports to the agent; "" if the call succeeded.
    ``usage`` is what a simulator's model consumed for this very request; None if no model was asked.
    """

    body: bytes
    provenance: Provenance
    tier: str = "miss"
    error: str = ""
    details: dict[str, Any] | None = None
    usage: Usage | None = None

    @property
    def unavailable(self) -> str:
        """Why no simulator could be asked, in the words of its endpoint; "" if one could, or was not needed."""
        return str((self.details or {}).get(SIMULATOR_UNAVAILABLE, "")) if self.error == MISS else ""


class Decline(NamedTuple):
    """Why a layer has no answer; ``kind`` is a short type such as ``miss`` or ``timeout``.

    ``usage`` is what a model consumed nevertheless.
    """

    kind: str
    message: str
    usage: Usage | None = None


class Layer(Protocol):
    """Something that may answer a call."""

    async def answer(self, request: CallRequest) -> Answer | Decline:
        """Answer the call or decline.

        Raises:
            StoreError: the store cannot be read; the request fails as a whole with 503.
        """
        ...


def answers_by_rule(layer: Layer) -> bool:
    """Whether a layer says, by an attribute ``by_rule``, that the same call always gets the same answer from it.

    Such answers are never kept and cost nothing to make again, so nobody needs to wait for another's.
    """
    return bool(getattr(layer, "by_rule", False))
