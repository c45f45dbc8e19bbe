"""The service of episodes: finds them by their tokens, makes their calls, and ends them.

The process keeps no state of an episode, so any worker can serve its next request.
"""

from __future__ import annotations

import asyncio
import hmac
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

import orjson

from stb_core.errors import StoreError
from stb_core.llm import REFUSED
from stb_core.store import ShieldedTasks
from stb_core.values import FINISH, ApiRef, Episode, Finished, Functions, Query, Step, StopReason, clock
from stb_core.values.episodes import later
from stb_core.values.functions import OfferedApi
from stb_core.values.observations import (
    ObservationStyle,
    Outgoing,
    finish_arguments,
    finish_step,
    read_call,
    with_observation,
)
from stb_server.calls import SIMULATOR_UNAVAILABLE, BadRequestError, VirtualRequest
from stb_server.episodes.accounting import EpisodeAccounting, ended_error
from stb_server.episodes.opening import hash_of, open_episode, plan_episode
from stb_server.episodes.requests import Opening
from stb_server.worker import Client, DatasetView, ViewRequest, Worker

_MAX_FUNCTIONS = 1024
_SWEEP_S = 1.0
_SWEEPS = 600
"""Number of sweeps after which old episodes are deleted."""
_ENDING_S = 2.0
"""How long what is under way may take when the server has to stop."""
_CLOSING_S = 600.0
"""Seconds after the end in which model calls of an agent get closing words; later ones are refused."""
_ENDED_BY_AGENT = frozenset({StopReason.ANSWERED, StopReason.GAVE_UP, StopReason.NO_FINISH})
_KEPT_S = 24 * 3600.0
"""Seconds for which an ended episode can be read."""


@dataclass(frozen=True)
class CallOutcome:
    """The result of a call: its step, the episode after it, and the tier that had the answer.

    ``kind`` is the type of a failure, as in ``X-STB-Error``.
    """

    step: Step
    episode: Episode
    tier: str = ""
    kind: str = ""


class EpisodeService:
    """The episodes of one worker."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.accounting = EpisodeAccounting(worker)
        self._functions: dict[tuple[int, str, str, str], Functions] = {}
        self.tasks = ShieldedTasks()

    async def open(self, opening: Opening, client: str) -> tuple[Episode, str]:
        """Open an episode; returns it with its token.

        Raises:
            BadRequestError: the request is not valid.
            StoreError: the store does not answer.
        """
        plan = await plan_episode(self.worker, opening)
        view = await self.worker.view(ViewRequest(plan.terms["dataset"]))
        functions = await self._functions_of(view, plan.query)
        return await open_episode(self.worker, opening, plan, functions.names, client)

    async def find(self, token: str, episode_id: str = "") -> Episode:
        """The episode of a token.

        Args:
            token: the token from the client.
            episode_id: the expected episode; "" for any.

        Raises:
            BadRequestError: no episode, or another one, has this token, or whoever opened it lost its own.
            StoreError: the store does not answer.
        """
        digest = hash_of(token)
        found = await self.worker.resources.store.episode_records.find(id=episode_id, token_hash=digest)
        if found is None or not hmac.compare_digest(found.token_hash, digest):
            raise BadRequestError(
                401,
                "unauthorized",
                "This needs the token of an existing episode: Authorization: Bearer ….",
                headers=((b"www-authenticate", b"Bearer"),),
            )
        self.client_of(found)
        if found.stop is None and found.expires_at <= clock.now():
            found = await self.accounting.end(found)
        return found

    def client_of(self, episode: Episode) -> Client:
        """Who opened an episode.

        Raises:
            BadRequestError: its token is not valid any more.
        """
        return self.worker.clients.of_name(episode.client)

    async def functions(self, episode: Episode) -> Functions:
        """The functions that an episode's query offers.

        Raises:
            BadRequestError: the dataset does not exist any more, or has changed.
            StoreError: the store does not answer.
        """
        view = await self._view(episode)
        dataset = view.names.dataset
        found = self._functions.get((dataset.id, dataset.content_hash, episode.group, episode.query_id))
        if found is None:
            queries = await self.worker.resources.store.datasets.queries_with_id(dataset.id, episode.query_id)
            (query,) = [query for query in queries if query.group == episode.group]
            found = await self._functions_of(view, query)
        return found

    async def call(self, episode: Episode, name: str, arguments: str, call_id: str = "") -> CallOutcome:
        """Make a call of an agent; it is completed even if the agent disconnects.

        Raises:
            BadRequestError: the episode has ended, or ends with this call.
            StoreError: the store does not answer; the call does not count.
        """
        return await self.tasks.finish(self._call(episode, name, arguments, call_id))

    async def finish(self, episode: Episode, answer: Any) -> Episode:
        """End an episode with an answer, or without one if that is None or "".

        Raises:
            BadRequestError: the episode has ended in another way.
            StoreError: the store does not answer.
        """
        return await self.tasks.finish(self._finish(episode, finish_arguments(answer)))

    async def finish_as_said(self, episode: Episode) -> Episode:
        """End an episode with the answer in the replies of its model; without one it has no answer.

        Raises:
            BadRequestError: the episode does not take its answer from there, or has ended in another way.
            StoreError: the store does not answer.
        """
        if not episode.ends_by_text:
            text = "The member answer is missing; only an episode opened with finish=text ends without it."
            raise BadRequestError(422, "wrong_form", text)
        return await self.tasks.finish(self.accounting.end(episode, Finished(StopReason.NO_FINISH)))

    async def is_finished(self, episode: Episode) -> bool:
        """Whether its agent has ended an episode, a short while ago, and may not know yet that it is over.

        Raises:
            StoreError: the store does not answer.
        """
        if episode.stop is None or later(episode.ended_at or "", _CLOSING_S) < clock.now():
            return False
        if episode.stop in _ENDED_BY_AGENT:
            return True
        # Its model's endpoint may have decided how it counts.
        record = await self.worker.resources.store.episode_records.record(episode)
        return any(step.function == FINISH and not step.error for step in record.steps[-1:])

    async def close(self) -> None:
        """Wait a moment for the calls that are under way, and cancel those that take longer."""
        await self.tasks.close(_ENDING_S)

    async def sweep_forever(self) -> None:
        """End idle episodes and delete old ones, for ever; at the start, open episodes get fresh time."""
        with suppress(StoreError):
            await self.worker.resources.store.episode_records.refresh(self.worker.options.episode_idle_s)
        while True:
            with suppress(StoreError):  # requests that need the store report this
                await self.worker.resources.store.episode_records.forget(later(clock.now(), -_KEPT_S))
            for _ in range(_SWEEPS):
                await asyncio.sleep(_SWEEP_S)
                with suppress(StoreError):
                    await self.sweep()

    async def sweep(self) -> None:
        """End all episodes whose time is up."""
        records = self.worker.resources.store.episode_records
        for episode_id in await records.overdue():
            if episode := await records.find(id=episode_id):
                await self.accounting.end(episode)

    async def _call(self, episode: Episode, name: str, arguments: str, call_id: str) -> CallOutcome:
        if name == FINISH:
            step, finished = finish_step(arguments, ObservationStyle.of_settings(episode.terms))
            if finished:
                return CallOutcome(step, await self._finish(episode, arguments))
            read: Step | Outgoing = step
        else:
            style = ObservationStyle.of_settings(episode.terms)
            read = read_call(await self.functions(episode), name, arguments, style)
        if isinstance(read, Step):
            begun = await self.accounting.begin(
                episode, "tool", read.model_dump_json(), call_id, answered=True
            )
            return CallOutcome(read if isinstance(begun, int) else begun.step, episode)
        view = await self._view(episode)
        begun = await self.accounting.begin(episode, "tool", read.step.model_dump_json(), call_id)
        if isinstance(begun, int):
            return await self._send(episode, view, read, begun)
        return (
            CallOutcome(begun.step, episode)
            if begun.answered
            else await self._send(episode, view, read, begun.id)
        )

    async def _send(self, episode: Episode, view: DatasetView, read: Outgoing, number: int) -> CallOutcome:
        started = monotonic()
        request = VirtualRequest(*read.ref, read.arguments)
        ledger = episode.id if episode.terms["stateful"] else ""
        client = self.client_of(episode)
        self.worker.count(client, "accepted")
        with client.in_logs():
            answer, key = await self.worker.call(view, request, ledger, client.name)
        if answer.unavailable:  # the call stays unanswered, and may be made again
            text = f"The server's simulator cannot be asked: {answer.unavailable}"
            raise BadRequestError(503, SIMULATOR_UNAVAILABLE, text)
        step = with_observation(
            read.step,
            answer.body.decode(),
            ObservationStyle.of_settings(episode.terms),
            error=error_of_body(answer.body),
            key=key or None,
            provenance=answer.provenance.value,
        )
        seconds = monotonic() - started
        self.worker.times.histogram(answer.provenance, answer.tier, 200, answer.error).observe(seconds)
        await self.accounting.answer(episode, number, step.model_dump_json(), seconds, simulator=answer.usage)
        return CallOutcome(step, episode, answer.tier, answer.error)

    async def _finish(self, episode: Episode, arguments: str) -> Episode:
        step, finished = finish_step(arguments)
        assert finished
        ended = await self.accounting.end(episode, finished, step)
        as_asked = (ended.stop, ended.final_answer) == (finished.stop, finished.final_answer)
        # Its model's endpoint may have decided how it ends.
        spoiled_now = episode.stop is None and ended.stop in {StopReason.INFRASTRUCTURE, *REFUSED}
        if not as_asked and not spoiled_now:
            raise ended_error(ended)
        return ended

    async def _view(self, episode: Episode) -> DatasetView:
        terms = episode.terms
        view = await self.worker.view(ViewRequest(terms["dataset"], terms["mode"], terms["snapshot"]))
        if view.names.dataset.content_hash != terms["dataset_hash"]:
            text = f"The dataset {terms['dataset']} has changed since the episode was opened."
            raise BadRequestError(409, "dataset_changed", text)
        return view

    async def _functions_of(self, view: DatasetView, query: Query) -> Functions:
        dataset, store = view.names.dataset, self.worker.resources.store
        offered: dict[ApiRef, OfferedApi] = {}
        for category, tool in dict.fromkeys((ref.category, ref.tool) for ref in query.apis):
            for document in await store.datasets.tools(dataset.id, category=category, tool=tool):
                for api in document.api_list:
                    ref = ApiRef(category, tool, api.standard_name)
                    offered[ref] = OfferedApi(ref, api, document.tool_description)
        found = Functions(offered[ref] for ref in query.apis if ref in offered)
        if len(self._functions) >= _MAX_FUNCTIONS:
            self._functions.clear()
        self._functions[dataset.id, dataset.content_hash, query.group, query.query_id] = found
        return found


def error_of_body(body: bytes) -> str:
    """The error in a tool's answer; "" if it has none."""
    error = orjson.loads(body)["error"]
    return error if isinstance(error, str) else orjson.dumps(error).decode()
