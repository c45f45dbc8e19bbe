"""How a call gets its answer: a tuple of layers, each answers or declines; the first that answers wins.

    mode       layers
    replay     recorded
    …          later modes put the real API and a simulator behind it

What every layer declined is a miss, which is recorded too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from stb_core.calls import ToolCall
from stb_core.provenance import Provenance
from stb_core.store.datasets import Dataset
from stb_server.identity import CHAT_WITH_USER
from stb_server.wire import MISS, encode_answer


@dataclass(frozen=True, slots=True)
class Asked:
    """A call together with the dataset that is to answer it."""

    dataset: Dataset
    call: ToolCall
    toolbench_key: str = field(default="", repr=False)
    """The caller's credential for the real API; never stored, logged or shown."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: the exact bytes to send, where it came from, and which tier had it.

    ``error`` is the type of a failure that the body tells the agent of; "" for an answer proper.
    """

    body: bytes
    provenance: Provenance
    tier: str = "miss"
    error: str = ""
    details: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Decline:
    """Why a layer has no answer; ``kind`` is a short type such as ``miss`` or ``timeout``."""

    kind: str
    message: str


class Layer(Protocol):
    """Something that may answer a call."""

    async def answer(self, asked: Asked) -> Answer | Decline:
        """Answer the call or decline.

        Raises:
            StoreError: the store cannot be read; the request fails as a whole with 503.
        """
        ...


class MissLog(Protocol):
    """Takes note of calls that nothing could answer."""

    def note(self, asked: Asked) -> None:
        """Remember a miss; must not wait."""
        ...


class Pipeline:
    """The layers of one cache mode."""

    def __init__(self, layers: tuple[Layer, ...], misses: MissLog) -> None:
        self._layers = layers
        self._misses = misses

    async def run(self, asked: Asked) -> Answer:
        """The answer of the first layer that has one; a miss, noted in the ledger, if none has."""
        for layer in self._layers:
            outcome = await layer.answer(asked)
            if isinstance(outcome, Answer):
                return outcome
        self._misses.note(asked)
        return miss(asked.call)


class ChatWithUser:
    """Answers ``chat_with_user``, behind which there is no API, as ToolBench's virtual server does."""

    _BODY = encode_answer("", "Chat with user.")

    async def answer(self, asked: Asked) -> Answer | Decline:
        """The fixed sentence."""
        if asked.call.api != CHAT_WITH_USER:
            return Decline(MISS, "There is an API behind this name.")
        return Answer(self._BODY, Provenance.TEMPLATE)


def miss(call: ToolCall) -> Answer:
    """The answer to a call that nothing could answer; the same for every such call of an API."""
    text = f"No recorded response: {call.api} of {call.tool} was not recorded with these arguments."
    return Answer(encode_answer(text), Provenance.MISS, error=MISS)
