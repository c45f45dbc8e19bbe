"""How a call gets its answer: layers, each of which answers or declines; the first answer wins.

``CacheMode`` says which layers a mode has. Near layers, such as the recordings, are asked for every call.
Far layers, the real API and the simulator, cost time or money: identical calls at the same time share one
flight, in this process and in all others, and its answer is recorded before it is sent. A call that every
layer declines is a miss, and enters the miss ledger. A near layer answers ``chat_with_user`` in every mode.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol

from stb_core.usage import Usage
from stb_core.values import Provenance, ToolCall, clock
from stb_server.calls import (
    CHAT_WITH_USER,
    MISS,
    SIMULATOR_UNAVAILABLE,
    Answer,
    CallRequest,
    Decline,
    Layer,
    answers_by_rule,
    encode_answer,
)
from stb_server.pipeline.single_flight import SingleFlight

_log = logging.getLogger(__name__)


class Keeper(Protocol):
    """Keeps answers, so that the same call gets the same answer from then on."""

    async def keep(self, request: CallRequest, answer: Answer) -> Answer:
        """Keep an answer; returns the answer that is now in force for the call and on disk.

        Raises:
            StoreError: it could not be written.
        """
        ...

    async def kept_meanwhile(self, request: CallRequest, since: str) -> Answer | None:
        """The answer that another process kept for this call since then, if any."""
        ...


class MissLog(Protocol):
    """Records calls that nothing could answer."""

    def add(self, request: CallRequest) -> None:
        """Record a miss; must not wait."""
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
        """Make the pipeline of a mode.

        Args:
            near: asked for every call.
            far: asked for calls that no near layer answers. Those up to the last one whose answers may
                be kept are asked in shared flights; the rest answer by rule and are asked directly.
            flights: the flights of this mode.
            keeper: keeps answers of far layers; None if they are not to be kept.
            misses: records calls that nothing could answer.
        """
        self.flights = flights
        self._near = tuple(near)
        shared = [number for number, layer in enumerate(far, 1) if not answers_by_rule(layer)]
        last = shared[-1] if shared else 0
        self._shared, self._by_rule = tuple(far[:last]), tuple(far[last:])
        self._keeper = keeper
        self._misses = misses

    async def answer(self, request: CallRequest) -> Answer:
        """The answer of the first layer that has one; if none has, a miss, which enters the ledger."""
        declined: list[str] = []
        for layer in self._near:
            outcome = await layer.answer(request)
            if isinstance(outcome, Answer):
                return outcome
            declined.append(outcome.kind)
        answer = miss(request.call, declined)
        if self._shared:
            answer = await self._share(request)
        if self._by_rule and answer.error == MISS:
            answer = await _first_answer(self._by_rule, request, after=answer if self._shared else None)
        if answer.error == MISS:
            self._misses.add(request)
            _log.info("a miss", extra={"stb_key": request.call.key, **(answer.details or {})})
        return answer

    async def _share(self, request: CallRequest) -> Answer:
        """The answer of the shared layers, which identical calls at the same time ask only once."""
        since, dataset = clock.now(), request.dataset
        name = f"{dataset.id}/{dataset.created_at}/{request.call.key}"
        has_led = False

        async def fetch(waited: bool) -> Answer:
            nonlocal has_led
            has_led = True
            return await self._fetch(request, since if waited else "")

        answer = await self.flights.share(name, fetch)
        # A request that only joined a flight has not caused what the flight consumed.
        return answer if has_led else answer._replace(usage=None)

    async def _fetch(self, request: CallRequest, since: str) -> Answer:
        """Ask the shared layers, unless a flight that ended meanwhile has left its answer."""
        answer = await _first_answer(self._near, request._replace(again=True))
        if answer.error != MISS:
            return answer
        if since and self._keeper and (kept := await self._keeper.kept_meanwhile(request, since)):
            return kept
        answer = await _first_answer(self._shared, request)
        if self._keeper and answer.provenance in KEPT:
            return (await self._keeper.keep(request, answer))._replace(usage=answer.usage)
        return answer


KEPT = frozenset({Provenance.LIVE, Provenance.SIMULATED})
"""Answers that are kept. What a rule makes can be made again, and a failure is never kept."""


async def _first_answer(
    layers: Sequence[Layer], request: CallRequest, *, after: Answer | None = None
) -> Answer:
    """The first answer of some layers, or a miss; ``after`` is the miss of the layers before them."""
    declined: list[str] = list((after.details or {})["declined"]) if after and after.details else []
    unavailable = after.unavailable if after else ""
    spent: Usage | None = after.usage if after else None
    for layer in layers:
        outcome = await layer.answer(request)
        if outcome.usage is not None:
            spent = outcome.usage if spent is None else spent + outcome.usage
        if isinstance(outcome, Answer):
            return outcome._replace(usage=spent)
        declined.append(outcome.kind)
        if outcome.kind == SIMULATOR_UNAVAILABLE:
            unavailable = outcome.message
    return miss(request.call, declined, unavailable)._replace(usage=spent)


class ChatWithUser:
    """Answers ``chat_with_user`` as ToolBench's virtual server does: no API stands behind it."""

    _BODY = encode_answer("", "Chat with user.")

    async def answer(self, request: CallRequest) -> Answer | Decline:
        """The fixed sentence."""
        if request.call.api != CHAT_WITH_USER:
            return Decline(MISS, "This name belongs to an API.")
        return Answer(self._BODY, Provenance.TEMPLATE)


def miss(call: ToolCall, declined: Sequence[str] = (), unavailable: str = "") -> Answer:
    """The answer to a call that nothing could answer; the same for every such call of an API.

    ``declined`` says why each layer has no answer, and ``unavailable`` why no simulator could be asked, for programs
    and not for the agent.
    """
    text = f"No recorded response: {call.api} of {call.tool} was not recorded with these arguments."
    details: dict[str, Any] = {"declined": list(declined)}
    if unavailable:
        details[SIMULATOR_UNAVAILABLE] = unavailable
    return Answer(encode_answer(text), Provenance.MISS, error=MISS, details=details)
