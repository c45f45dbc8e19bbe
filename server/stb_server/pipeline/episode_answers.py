"""Answers that agree within an episode: what a call creates, later calls find, list, change and delete.

An episode is one attempt of one agent at one task, named by the header ``X-STB-Episode``; a name is
used once. Within an episode, a simulated answer depends on the earlier calls of the same tool and their
answers. The model is shown these, and the answer is kept with them, so that the same calls in the same
order get the same bytes when they are replayed. Real answers do not depend on an episode.

An answer that holds in only one state is kept like any other, with the state as one more argument.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.store import PriorCall, Store, ToolInEpisode
from stb_core.values import Provenance
from stb_server.cache import StoreWriter
from stb_server.calls import Answer, CallInState, CallRequest, Decline, Layer

_REAL = frozenset({Provenance.RECORDED, Provenance.LIVE})
_LEAVING_NO_TRACE = frozenset({Provenance.MISS, Provenance.FAULT})


class EpisodeLedger:
    """Answers the calls of episodes, and remembers them."""

    def __init__(self, store: Store, writer: StoreWriter) -> None:
        self._store = store
        self._writer = writer
        self._turns: WeakValueDictionary[ToolInEpisode, asyncio.Lock] = WeakValueDictionary()

    async def answer(
        self,
        request: CallRequest,
        episode: str,
        *,
        recorded: Layer | None,
        answer: Callable[[CallRequest], Awaitable[Answer]],
    ) -> Answer:
        """The answer to a call within its episode; calls of one tool are answered one after another.

        Args:
            request: the call.
            episode: the name of the episode.
            recorded: finds recordings of the call alone; None if recordings may not answer.
            answer: answers a call, in a state or alone.

        Raises:
            StoreError: the store does not answer, or something could not be written.
        """
        call = request.call
        place = ToolInEpisode(request.dataset.id, episode, call.category, call.tool)
        async with self._turns.setdefault(place, asyncio.Lock()):
            history = await self._store.episodes.history(place)
            outcome: Answer | Decline | None = None
            if history and recorded:
                outcome = await recorded.answer(request)
            if not isinstance(outcome, Answer) or outcome.provenance not in _REAL:
                in_state = request._replace(call=CallInState.after(call, history)) if history else request
                outcome = await answer(in_state)
            if outcome.provenance not in _LEAVING_NO_TRACE:
                await self._remember(place, PriorCall(call.api, call.canonical_arguments, outcome.body))
        return outcome

    async def _remember(self, place: ToolInEpisode, prior: PriorCall) -> None:
        async def work(connection: AsyncConnection) -> None:
            await self._store.episodes.note_within(connection, place, prior)

        await self._writer.do(work)
