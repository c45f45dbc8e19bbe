"""Keeps new answers: first in the store, then in Redis and memory, and only then they are given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from stb_core.store.responses import Response
from stb_core.values.provenance import Provenance, Replacing
from stb_server.cache.store_reader import Found
from stb_server.cache.store_writer import StoreWriter
from stb_server.cache.tiers import Entry, Tiers
from stb_server.calls.answers import Answer, CallRequest
from stb_server.calls.episode_state import call_alone

# A live answer is on record as what it will be when it is served again.
_STORED_AS = {Provenance.LIVE: Provenance.RECORDED}


class AnswerKeeper:
    """Keeps answers in the store."""

    def __init__(
        self,
        writer: StoreWriter,
        tiers: Tiers,
        replacing: Replacing,
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        """Make a keeper.

        Args:
            writer: writes into the store.
            tiers: get a copy of what was written.
            replacing: which answers in force a new one may replace.
            changed: called when one was replaced.
        """
        self._writer = writer
        self._tiers = tiers
        self._replacing = replacing
        self._changed = changed

    async def keep(self, asked: CallRequest, answer: Answer) -> Answer:
        """Keep an answer; returns it, or the one in force where that one stands.

        Raises:
            StoreError: it could not be written; nothing was kept and nothing may be answered.
        """
        call = call_alone(asked.call) if answer.provenance is Provenance.LIVE else asked.call
        response = Response(
            key=call.key,
            category=call.category,
            tool=call.tool,
            api=call.api,
            arguments=call.canonical_arguments,
            body=answer.body,
            provenance=_STORED_AS.get(answer.provenance, answer.provenance),
            details=answer.details,
        )
        kept = await self._writer.keep(asked.dataset.id, response, self._replacing)
        found = Found(kept.response.body, kept.response.provenance, id=kept.response.id)
        if kept.is_new and kept.response.version > 1:
            await self._changed()  # the dataset is in another state now, under another space
        else:
            await self._tiers.put(asked, call.key, found)
        if kept.is_new or kept.response.body == answer.body:
            return answer
        return _from_store(found)

    async def kept_meanwhile(self, asked: CallRequest, since: str) -> Answer | None:
        """What another process kept for this call since then, if it did.

        Raises:
            StoreError: the store does not answer.
        """
        found = await self._tiers.reader.in_force(asked.dataset.id, asked.call.key)
        if found is None or found.created_at < since:
            return None
        return _from_store(found)


def _from_store(found: Found) -> Answer:
    entry = Entry.of(found.body, found.provenance)
    return Answer(entry.body, entry.provenance, "store")
