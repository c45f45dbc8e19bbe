"""How a call gets its answer: layers, each answers or declines; the first that answers wins.

    mode       near                far                    kept
    replay     recorded            -                      -
    simulate   recorded            simulator              yes
    auto       recorded            real API, simulator    yes
    record     -                   real API               yes, in place of a simulated answer too
    refresh    -                   real API, simulator    yes, in place of any
    live       -                   real API               no

Near layers are asked for each call. Far ones cost time or money: identical calls that are under way
at once share one flight, in this process and in all others, and its answer is kept before it is
given. What every layer declined is a miss, which is recorded too. ``chat_with_user`` is answered
by a near layer in every mode.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from stb_core import clock
from stb_core.calls import ToolCall
from stb_core.provenance import Provenance
from stb_core.store.datasets import Dataset
from stb_core.store.snapshots import Snapshot
from stb_core.trajectories import Usage
from stb_server.flights import Flights
from stb_server.identity import CHAT_WITH_USER
from stb_server.wire import MISS, encode_answer

_log = logging.getLogger(__name__)

# Named tuples: these are made for each call, and a frozen dataclass takes four times as long to make.


class Asked(NamedTuple):
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

    async def answer(self, asked: Asked) -> Answer | Decline:
        """Answer the call or decline.

        Raises:
            StoreError: the store cannot be read; the request fails as a whole with 503.
        """
        ...


class Keeper(Protocol):
    """Keeps answers, so that the same call gets the same answer from then on."""

    async def keep(self, asked: Asked, answer: Answer) -> Answer:
        """Keep an answer; returns what is in force for the call now, which is on disk.

        Raises:
            StoreError: it could not be written.
        """
        ...

    async def kept_meanwhile(self, asked: Asked, since: str) -> Answer | None:
        """What another process kept for this call since then, if it did."""
        ...


class MissLog(Protocol):
    """Takes note of calls that nothing could answer."""

    def note(self, asked: Asked) -> None:
        """Remember a miss; must not wait."""
        ...


class Pipeline:
    """The layers of one cache mode."""

    def __init__(
        self,
        near: Sequence[Layer],
        far: Sequence[Layer],
        *,
        flights: Flights[Answer],
        keeper: Keeper | None,
        misses: MissLog,
    ) -> None:
        """Put a mode together.

        Args:
            near: asked for each call.
            far: asked, in shared flights, for what no near layer answers.
            flights: those of this mode.
            keeper: keeps answers of far layers; None if they are not to be kept.
            misses: takes note of what nothing could answer.
        """
        self.flights = flights
        self._near = tuple(near)
        self._far = tuple(far)
        self._keeper = keeper
        self._misses = misses

    async def answer(self, asked: Asked) -> Answer:
        """The answer of the first layer that has one; a miss, noted in the ledger, if none has."""
        declined: list[str] = []
        for layer in self._near:
            outcome = await layer.answer(asked)
            if isinstance(outcome, Answer):
                return outcome
            declined.append(outcome.kind)
        answer = miss(asked.call, declined)
        if self._far:
            since, dataset = clock.now(), asked.dataset
            name = f"{dataset.id}/{dataset.created_at}/{asked.call.key}"
            flown: list[bool] = []

            async def fly(waited: bool) -> Answer:
                flown.append(True)
                return await self._fetch(asked, since if waited else "")

            answer = await self.flights.share(name, fly)
            if not flown:  # who only joined a flight has not caused what it consumed
                answer = answer._replace(usage=None)
        if answer.error == MISS:
            self._misses.note(asked)
            _log.info("a miss", extra={"stb_key": asked.call.key, **(answer.details or {})})
        return answer

    async def _fetch(self, asked: Asked, since: str) -> Answer:
        """Ask the far layers, unless a flight that landed in between has left its answer behind."""
        answer = await _first_answer(self._near, asked._replace(again=True))
        if answer.error != MISS:
            return answer
        if since and self._keeper and (kept := await self._keeper.kept_meanwhile(asked, since)):
            return kept
        answer = await _first_answer(self._far, asked)
        if self._keeper and answer.provenance in KEPT:
            return (await self._keeper.keep(asked, answer))._replace(usage=answer.usage)
        return answer


KEPT = frozenset({Provenance.LIVE, Provenance.SIMULATED})
"""Answers that are kept; what a rule made can be made again, and a failure is never kept."""


async def _first_answer(layers: Sequence[Layer], asked: Asked) -> Answer:
    declined: list[str] = []
    spent: Usage | None = None
    for layer in layers:
        outcome = await layer.answer(asked)
        if outcome.usage is not None:
            spent = outcome.usage if spent is None else spent + outcome.usage
        if isinstance(outcome, Answer):
            return outcome._replace(usage=spent)
        declined.append(outcome.kind)
    return miss(asked.call, declined)._replace(usage=spent)


class ChatWithUser:
    """Answers ``chat_with_user``, behind which there is no API, as ToolBench's virtual server does."""

    _BODY = encode_answer("", "Chat with user.")

    async def answer(self, asked: Asked) -> Answer | Decline:
        """The fixed sentence."""
        if asked.call.api != CHAT_WITH_USER:
            return Decline(MISS, "There is an API behind this name.")
        return Answer(self._BODY, Provenance.TEMPLATE)


def miss(call: ToolCall, declined: Sequence[str] = ()) -> Answer:
    """The answer to a call that nothing could answer; the same for every such call of an API.

    ``declined`` says of each layer why it has no answer; for programs, not for the agent.
    """
    text = f"No recorded response: {call.api} of {call.tool} was not recorded with these arguments."
    details = {"declined": list(declined)}
    return Answer(encode_answer(text), Provenance.MISS, error=MISS, details=details)
