"""Counts all that is done in episodes, before it is done, and ends episodes whose budget is spent.

Each entry is one piece of work for the store's writer, under a lock on its episode, so that two workers that
serve the same episode at once keep one count.
"""

from __future__ import annotations

import asyncio
from math import inf

from sqlalchemy.ext.asyncio import AsyncConnection

from stb_core.usage import Usage
from stb_core.values import Episode, Finished, Step, StopReason, clock
from stb_core.values.episodes import EpisodeEvent, EventKind, FailedCall, ProxiedCall, later
from stb_server.calls import BadRequestError
from stb_server.worker import Worker

ENDED = "ended"
"""The kind of refusal of what is asked of an episode that has ended."""
MODEL_TIMEOUT_S = 600.0
"""Seconds without data from a provider after which its call counts as interrupted."""
_POLL_S = 0.05
_WITHOUT_WORDS = frozenset({StopReason.EXPIRED, StopReason.MAX_SECONDS, StopReason.NO_FINISH})
"""How an episode ends in which nothing more comes from the agent."""


class EpisodeAccounting:
    """Records in the store what is done in episodes."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.longest_call_s = 30.0
        """Seconds that ending an episode waits for a call in progress; after that the call counts as interrupted."""
        self.text_settles_s = 30.0
        """Seconds without a request after which an answer in a model's reply ends an episode that takes it from there."""
        self.longest_model_call_s = max(MODEL_TIMEOUT_S, worker.options.model_timeout_s or 0.0)
        """Seconds for which a model call in progress keeps its episode from expiring."""

    async def begin(
        self, episode: Episode, kind: EventKind, document: str, call_id: str = "", *, answered: bool = False
    ) -> int | EpisodeEvent:
        """Count something that is about to be done; returns its number, or the event of the same ``call_id``.

        Raises:
            BadRequestError: the episode has ended, or ends now because a budget is spent.
            StoreError: the store does not answer.
        """
        records, idle_s = self._worker.resources.store.episode_records, self._worker.options.episode_idle_s

        async def work(connection: AsyncConnection) -> int | EpisodeEvent | Episode | StopReason:
            now = clock.now()
            found = await records.locked_within(connection, episode.id)
            if found.stop is not None:
                return found
            if call_id and (before := await records.event_within(connection, episode.id, call_id)):
                return before
            late = await self._time_is_up(connection, found, now)
            if spent := late or await self._spent(connection, found, kind):
                return spent
            return await records.begin_within(
                connection,
                found,
                kind,
                document,
                expires_at=found.left_alone_at(now, idle_s),
                call_id=call_id,
                answered=answered,
            )

        outcome = await self._worker.resources.writer.do(work)
        if isinstance(outcome, StopReason):
            outcome = await self.end(episode, Finished(outcome))
        if isinstance(outcome, Episode):
            raise ended_error(outcome)
        return outcome

    async def answer(
        self,
        episode: Episode,
        number: int,
        document: str,
        seconds: float,
        *,
        simulator: Usage | None = None,
        may_be_last: bool = False,
    ) -> None:
        """Complete what ``begin`` counted.

        Args:
            episode: the episode.
            number: the number that ``begin`` returned.
            document: a step, or a model call.
            seconds: how long it took.
            simulator: what the server's simulator consumed for it.
            may_be_last: whether the agent may have given its answer with it, so that nothing more may come.

        Raises:
            StoreError: the store does not answer.
        """
        records, idle_s = self._worker.resources.store.episode_records, self._worker.options.episode_idle_s

        wait_s = min(idle_s, self.text_settles_s) if may_be_last else idle_s

        async def work(connection: AsyncConnection) -> None:
            until = episode.left_alone_at(clock.now(), wait_s)
            await records.answer_within(connection, episode.id, number, document, seconds, expires_at=until)
            if simulator:
                await records.note_simulator_within(connection, episode.id, simulator)

        await self._worker.resources.writer.do(work)

    async def fail(
        self, episode: Episode, number: int, failure: FailedCall, call: ProxiedCall | None = None
    ) -> None:
        """Record a model call that brought no reply, so that it does not count.

        Args:
            episode: the episode.
            number: the number that ``begin`` returned.
            failure: why there is no reply.
            call: what it consumed, where the provider counts it all the same; then it counts here, too.

        Raises:
            StoreError: the store does not answer.
        """
        records, idle_s = self._worker.resources.store.episode_records, self._worker.options.episode_idle_s

        async def work(connection: AsyncConnection) -> None:
            until = episode.left_alone_at(clock.now(), idle_s)
            if call is None:
                await records.fail_within(connection, episode.id, number, failure, expires_at=until)
                return
            document = call.model_dump_json()
            await records.answer_within(connection, episode.id, number, document, 0.0, expires_at=until)
            await records.note_failure_within(connection, episode.id, failure)

        await self._worker.resources.writer.do(work)

    async def end(
        self, episode: Episode, finished: Finished | None = None, step: Step | None = None
    ) -> Episode:
        """End an episode, or check whether its time is up; returns its new state.

        This waits for calls in progress, because they were made before the end. Where the episode takes its
        answer from the replies of its model, an end without an answer becomes one with it.

        Args:
            episode: the episode; it may have ended meanwhile.
            finished: how it ends; with None it ends only if its time is up.
            step: the call of ``Finish`` that ends it.

        Raises:
            StoreError: the store does not answer.
        """
        records = self._worker.resources.store.episode_records

        async def work(connection: AsyncConnection) -> Episode | None:
            now = clock.now()
            found = await records.locked_within(connection, episode.id)
            late = await self._time_is_up(connection, found, now)
            if found.stop is not None or not (late or finished):
                return found
            since = later(now, -self.longest_call_s)
            if await records.under_way_within(connection, episode.id, "tool", since=since):
                return None
            ending = Finished(late) if late else finished
            assert ending
            if found.ends_by_text and ending.stop in _WITHOUT_WORDS:
                ending = await records.said_within(connection, found) or ending
            if step and not late:
                await records.begin_within(
                    connection,
                    found,
                    "tool",
                    step.model_dump_json(),
                    expires_at=found.expires_at,
                    answered=True,
                    counted=False,
                )
            return await records.end_within(connection, found, ending)

        while True:
            if ended := await self._worker.resources.writer.do(work):
                return ended
            await asyncio.sleep(_POLL_S)

    async def _time_is_up(self, connection: AsyncConnection, episode: Episode, now: str) -> StopReason | None:
        """As ``expiry_reason``, but an episode does not expire while a model call is in progress."""
        late = expiry_reason(episode, now)
        if late is not StopReason.EXPIRED:
            return late
        records, since = self._worker.resources.store.episode_records, later(now, -self.longest_model_call_s)
        return None if await records.under_way_within(connection, episode.id, "model", since=since) else late

    async def _spent(
        self, connection: AsyncConnection, episode: Episode, kind: EventKind
    ) -> StopReason | None:
        """The budget that another call would exceed."""
        budget = episode.budget
        if kind == "tool":
            return StopReason.MAX_TOOL_CALLS if episode.tool_calls >= budget["max_tool_calls"] else None
        if episode.model_calls >= budget.get("max_model_calls", inf):
            return StopReason.MAX_MODEL_CALLS
        if not budget.keys() & {"max_tokens", "max_cost_usd"}:
            return None
        used = await self._worker.resources.store.episode_records.usage_within(connection, episode.id)
        if used.total_tokens >= budget.get("max_tokens", inf):
            return StopReason.MAX_TOKENS
        return StopReason.MAX_COST if (used.cost_usd or 0.0) >= budget.get("max_cost_usd", inf) else None


def expiry_reason(episode: Episode, now: str) -> StopReason | None:
    """Why an open episode ends by the clock: its time is used up, or it was idle for too long; else None."""
    if episode.ends_at and episode.ends_at <= now:
        return StopReason.MAX_SECONDS
    return StopReason.EXPIRED if episode.expires_at <= now else None


def ended_error(episode: Episode) -> BadRequestError:
    """The error for any request to an episode that has ended."""
    assert episode.stop
    why = episode.stop.value + (f" ({episode.error.rstrip('.')})" if episode.error else "")
    return BadRequestError(409, ENDED, f"The episode has ended: {why}. Open another one.")
