"""How a call gets its answer: layers, each of which answers or declines; the first answer wins.

``CacheMode`` says which layers a mode has. Near layers, such as the recordings, are asked for every call.
Far layers, the real API and the simulator, cost time or money: identical calls at the same time share one
flight, in this process and in all others, and its answer is recorded before it is sent. A call that every
layer declines is a miss, and enters the miss ledger. A near layer answers ``chat_with_user`` in every mode.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from stb_core.usage import Usage
from stb_core.values import clock
from stb_core.values.calls import ToolCall
from stb_core.values.provenance import Provenance
from stb_server.calls.answers import Answer, CallRequest, Decline, Layer
from stb_server.calls.identify import CHAT_WITH_USER
from stb_server.calls.protocol import MISS, encode_answer
from stb_server.pipeline.single_flight import SingleFlight

_log = logging.getLogger(__name__)

# Named tuples: these are made for each call, and a frozen dataclass takes four times as long to make.


class Keeper(Protocol):
    """Keeps answers, so that the same call gets the same answer from then on."""

    async def keep(self, asked: CallRequest, answer: Answer) -> Answer:
        """Keep an answer; returns what is in force for the call now, which is on disk.

        Raises:
            StoreError: it could not be written.
        """
        ...

    async def kept_meanwhile(self, asked: CallRequest, since: str) -> Answer | None:
        """What another process kept for this call since then, if it did."""
        ...


class MissLog(Protocol):
    """Takes note of calls that nothing could answer."""

    def note(self, asked: CallRequest) -> None:
        """Remember a miss; must not wait."""
        ...


class Pipeline:
    """The layers of one cache mode."""

    def __init__(
        self,
        near: Sequence[Layer],
        far: Sequence[Layer],
        *,
        flights: SingleFlight[Answer],
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

    async def answer(self, asked: CallRequest) -> Answer:
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

    async def _fetch(self, asked: CallRequest, since: str) -> Answer:
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


async def _first_answer(layers: Sequence[Layer], asked: CallRequest) -> Answer:
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

    async def answer(self, asked: CallRequest) -> Answer | Decline:
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
