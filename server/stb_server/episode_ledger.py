"""Answers that agree within an episode: what was created is found again, listed, changed and deleted.

An episode is one attempt of one agent at one task, named by the header ``X-STB-Episode``; a name is
used once. Within it a simulated answer depends on the earlier calls of the same tool and what they
were answered: the model is shown them, and the answer is kept under them, so that the same calls in
the same order get the same bytes when they are replayed. Real answers do not depend on an episode.

An answer that holds in one state alone is kept like any other, with the state as one more argument.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.calls import JsonObject, ToolCall, call_key, canonical_json
from stb_core.provenance import Provenance
from stb_core.store import Store
from stb_core.store.episodes import Place, PriorCall
from stb_server import exact_json
from stb_server.pipeline import Answer, Asked, Decline, Layer
from stb_server.recorder import Recorder

STATE = "$episode"
"""The argument that tells the state of the episode in which a kept answer holds; no API has it."""
MAX_NAME = 200
"""Longest name of an episode."""
_REAL = frozenset({Provenance.RECORDED, Provenance.LIVE})
_NOT_TOLD = frozenset({Provenance.MISS, Provenance.FAULT})


@dataclass(frozen=True)
class CallInState(ToolCall):
    """A call with what its episode was answered before; its key tells both.

    ``arguments`` are those of the call alone, ``canonical_arguments`` those that it is kept with.
    """

    history: tuple[PriorCall, ...] = ()

    @classmethod
    def of(cls, call: ToolCall, history: Sequence[PriorCall]) -> CallInState:
        """The call in this state."""
        return cls(call.category, call.tool, call.api, call.arguments, tuple(history))

    @property
    def alone(self) -> ToolCall:
        """The same call, in no episode."""
        return ToolCall(self.category, self.tool, self.api, self.arguments)

    @cached_property
    def canonical_arguments(self) -> bytes:
        """RFC 8785 bytes of the arguments and the state."""
        return canonical_json({**self.arguments, STATE: state_of(self.history)})

    @cached_property
    def key(self) -> str:
        """SHA-256 of the call in its state."""
        return call_key(self.category, self.tool, self.api, self.canonical_arguments)


def state_of(history: Sequence[PriorCall]) -> str:
    """SHA-256 of the earlier calls with their answers, in order."""
    digest = hashlib.sha256()
    for prior in history:
        for part in (prior.api.encode(), prior.arguments, prior.body):
            digest.update(b"%d:" % len(part))
            digest.update(part)
    return digest.hexdigest()


def call_alone(call: ToolCall) -> ToolCall:
    """The call without the state of an episode."""
    return call.alone if isinstance(call, CallInState) else call


def shown(call: ToolCall) -> list[JsonObject]:
    """What the episode of a call was answered before, for a prompt; oldest first."""
    history = call.history if isinstance(call, CallInState) else ()
    return [_shown(prior) for prior in history]


def _shown(prior: PriorCall) -> JsonObject:
    answer: Any = exact_json.parse(prior.body)
    return {"api": prior.api, "arguments": exact_json.parse(prior.arguments), "answer": answer}


class EpisodeLedger:
    """Answers the calls of episodes, and remembers them."""

    def __init__(self, store: Store, recorder: Recorder) -> None:
        self._store = store
        self._recorder = recorder
        self._turns: WeakValueDictionary[Place, asyncio.Lock] = WeakValueDictionary()

    async def answer(
        self,
        asked: Asked,
        episode: str,
        *,
        recorded: Layer | None,
        answer: Callable[[Asked], Awaitable[Answer]],
    ) -> Answer:
        """The answer to a call within its episode; calls of one tool are answered one after another.

        Args:
            asked: the call.
            episode: its name.
            recorded: finds recordings of the call alone; None where none may answer.
            answer: answers a call, in a state or alone.

        Raises:
            StoreError: the store does not answer, or did not take what had to be written.
        """
        call = asked.call
        place = Place(asked.dataset.id, episode, call.category, call.tool)
        async with self._turns.setdefault(place, asyncio.Lock()):
            history = await self._store.episodes.history(place)
            found: Answer | Decline | None = None
            if history and recorded:
                found = await recorded.answer(asked)
            if not isinstance(found, Answer) or found.provenance not in _REAL:
                in_state = asked._replace(call=CallInState.of(call, history)) if history else asked
                found = await answer(in_state)
            if found.provenance not in _NOT_TOLD:
                await self._note(place, PriorCall(call.api, call.canonical_arguments, found.body))
        return found

    async def _note(self, place: Place, prior: PriorCall) -> None:
        async def work(connection: AsyncConnection) -> None:
            await self._store.episodes.note_within(connection, place, prior)

        await self._recorder.do(work)
