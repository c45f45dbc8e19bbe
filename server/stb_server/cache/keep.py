"""Keeps new answers: first in the store, then in Redis and memory; only then are they sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from stb_core import json_text
from stb_core.store import Response
from stb_core.values import Provenance
from stb_core.values.provenance import Replacing
from stb_server.cache.cached_answer import CachedAnswer
from stb_server.cache.store_writer import StoreWriter
from stb_server.cache.tiers import Tiers
from stb_server.calls import Answer, CallRequest, call_alone

# A live answer is stored with the provenance that it has when it is served again.
_STORED_AS = {Provenance.LIVE: Provenance.RECORDED}


class AnswerKeeper:
    """Keeps answers in the store."""

    def __init__(
        self,
        writer: StoreWriter,
        tiers: Tiers,
        replacing: Replacing,
        replaced: Callable[[], Awaitable[None]],
    ) -> None:
        """Make a keeper.

        Args:
            writer: writes into the store.
            tiers: get a copy of what was written.
            replacing: which answers in force a new one may replace.
            replaced: called when an answer was replaced.
        """
        self._writer = writer
        self._tiers = tiers
        self._replacing = replacing
        self._replaced = replaced

    async def keep(self, request: CallRequest, answer: Answer) -> Answer:
        """Keep an answer; returns it, or the answer in force if that one stays.

        Raises:
            StoreError: it could not be written; nothing was kept and nothing may be answered.
        """
        call = call_alone(request.call) if answer.provenance is Provenance.LIVE else request.call
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
        kept = await self._writer.keep(request.dataset.id, response, self._replacing)
        in_force = kept.response
        body = json_text.trim(in_force.body)
        cached = CachedAnswer.create(body, in_force.provenance, number=in_force.id)
        if kept.is_new and in_force.version > 1:
            await self._replaced()  # the dataset is in another state now, with another namespace
        else:
            await self._tiers.put(request, call.key, cached)
        if kept.is_new or in_force.body == answer.body:
            return answer
        return _from_store(cached)

    async def kept_meanwhile(self, request: CallRequest, since: str) -> Answer | None:
        """The answer that another process kept for this call since then, if any.

        Raises:
            StoreError: the store does not answer.
        """
        cached = await self._tiers.reader.in_force(request.dataset.id, request.call.key)
        if cached is None or cached.created_at < since:
            return None
        return _from_store(cached)


def _from_store(cached: CachedAnswer) -> Answer:
    return Answer(cached.body, cached.provenance, "store")
